"""A conversation on real sound, over everything that ``make run`` starts."""

from __future__ import annotations

import asyncio
import re

import pytest

from orchestrator.adapters.livekit_client import loudness
from tests.support.call import calling, joined
from tests.support.servers import wait_until
from tests.support.system import System

pytestmark = pytest.mark.alone
GREETING = "This is Greenroom's offline demonstration voice. Ask me for the time or a joke."
SPEECH_RMS = 300


def is_speech(pcm: bytes, *, at_least_s: float) -> bool:
    """Loud enough for long enough: neither silence nor a click."""
    frames = [pcm[i : i + 1920] for i in range(0, len(pcm) - 1919, 1920)]  # 20 ms at 48 kHz
    return sum(loudness(frame) > SPEECH_RMS for frame in frames) * 0.02 >= at_least_s


async def test_a_spoken_conversation(system: System) -> None:
    async with calling(system) as call:
        assert call.spoken_by_agent() == [GREETING]
        system.wait_status(call.session_id, "active")

        said, answer, sound = await call.say("what time is it")
        assert said == "what time is it"
        assert re.fullmatch(r"It is \d{1,2}:\d\d [AP]M\.", answer)
        assert is_speech(sound, at_least_s=0.6)

        said, answer, sound = await call.say("tell me a joke")
        assert said == "tell me a joke"
        assert len(answer) > 30
        assert is_speech(sound, at_least_s=1.5)

        said, answer, sound = await call.say("the municipal elephants reorganised yesterday")
        assert said == "[not understood]"
        assert "did not understand" in answer
        assert is_speech(sound, at_least_s=1.0)

        said, answer, _ = await call.say("goodbye")
        assert said == "goodbye"
        assert answer.startswith("Goodbye")
        ended = system.wait_status(call.session_id, "ended")
        assert ended["error"] is None

    turns = system.redis().lrange(f"turns:{call.session_id}", 0, -1)
    assert sum('"role":"user"' in turn for turn in turns) == 4


async def test_typed_text_is_answered_like_speech(system: System) -> None:
    async with calling(system) as call:
        assert re.search(r"\d:\d\d", await call.type("What time is it?"))
        assert await call.type("I like trains") == "You said: I like trains"


async def test_what_is_given_at_the_start_binds_on_a_warm_agent(system: System) -> None:
    async with calling(system, openingLine="Welcome to the dentist, Ann.") as call:
        assert call.spoken_by_agent() == ["Welcome to the dentist, Ann."]
        assert system.session(call.session_id)["prewarmed"] is True


async def test_a_user_who_comes_back_finds_the_same_agent_without_a_second_greeting(system: System) -> None:
    async with calling(system) as call:
        pid = call.agent_pid
        await call.say("tell me a joke")
        await call.caller.leave()
        wait_until(
            lambda: system.redis().hexists(f"session:{call.session_id}", "userLeftAt"),
            what="the user's leaving is seen",
        )
        async with joined(system, call.session_id) as again:
            said, answer = await again.ask("what time is it")
            assert said == "what time is it"
            assert answer.startswith("It is")
            assert GREETING not in again.spoken_by_agent()
            assert again.agent_pid == pid


async def test_a_user_who_stays_away_ends_the_session(system: System) -> None:
    async with calling(system) as call:
        await call.caller.leave()
        session = await asyncio.to_thread(system.wait_status, call.session_id, "ended", 30)
    assert session["error"] is None
    assert system.redis().hget(f"session:{call.session_id}", "endReason") == "the user left"


async def test_ending_a_session_closes_the_call(system: System) -> None:
    async with calling(system) as call:
        pid = call.agent_pid
        system.end(call.session_id)
        await asyncio.to_thread(wait_until, lambda: pid not in system.agent_pids(), what="the agent has gone")
        await asyncio.to_thread(wait_until, lambda: call.caller.over, what="the room was closed")
        with system.client() as client:
            assert client.delete(f"/api/session/{call.session_id}").status_code == 200
            token = client.post("/api/token", json={"sessionId": call.session_id, "userName": "Ann"})
        assert token.status_code == 410
        assert token.json()["code"] == "session_ended"


async def test_ten_at_once_are_all_served(system: System) -> None:
    started = await asyncio.gather(*(asyncio.to_thread(system.start_session, f"u{i}") for i in range(10)))
    ids = [answer["sessionId"] for answer in started]
    try:
        assert len(set(ids)) == 10
        await asyncio.gather(*(asyncio.to_thread(system.wait_status, i, "ready") for i in ids))
        pids = {system.session(i)["agentPid"] for i in ids}
        assert len(pids) == 10
    finally:
        for session_id in ids:
            system.end(session_id)
