"""A caller in real rooms, opposite an agent that is a second client."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import signal
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from livekit import rtc
from typer.testing import CliRunner

from orchestrator.adapters.livekit_client import SAMPLE_RATE, Caller, CallOverError, Line, loudness
from orchestrator.adapters.livekit_rooms import LiveKitKey, LiveKitRooms, LiveKitTokens
from orchestrator.adapters.speech import read_wav, spoken
from orchestrator.cli import talk_session
from orchestrator.cli.main import app
from orchestrator.cli.talk_call import Room, Utterance, converse
from orchestrator.cli.talk_report import Report, Timeline
from orchestrator.cli.talk_session import CallerClient
from orchestrator.domain.errors import RoomsUnavailableError
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer, running

WAIT_S = 10.0
USER = "user-u"


class FakeAgent(Caller):
    """An agent as others see it: its kind, its state, its sound and its transcripts."""

    name = "agent"

    async def become(self, state: str) -> None:
        await self._room.local_participant.set_attributes({"lk.agent.state": state})

    async def speak(self, text: str) -> None:
        """Say it and transcribe it word by word, as an agent session does."""
        await self.become("speaking")
        final = {"lk.transcription_final": "true"}
        writer = await self._writer(secrets.token_hex(4), self._room.local_participant.identity)
        said = asyncio.create_task(self.say_pcm(*_of(text)))
        for word in text.split():
            await writer.write(f"{word} ")
        await said
        await writer.aclose(attributes=final)
        await self.become("listening")

    async def understand(self, *versions: str) -> None:
        """Transcribe the user: one stream for each version, the last of which is final."""
        segment = secrets.token_hex(4)
        for version in versions:
            writer = await self._writer(segment, USER, final=version == versions[-1])
            await writer.write(version)
            await writer.aclose()

    async def _writer(self, segment: str, identity: str, *, final: bool = False) -> rtc.TextStreamWriter:
        attributes = {"lk.segment_id": segment, "lk.transcription_final": str(final).lower()}
        return await self._room.local_participant.stream_text(
            topic="lk.transcription", sender_identity=identity, attributes=attributes
        )

    def answer_chat(self, answers: dict[str, str]) -> None:
        async def answer(reader: rtc.TextStreamReader) -> None:
            await self.speak(answers[await reader.read_all()])

        self._room.register_text_stream_handler("lk.chat", lambda reader, _: self._spawn(answer(reader)))

    def hear(self, track: rtc.Track, _: object, __: object) -> None:
        """An agent hears users; a caller hears agents only."""
        if isinstance(track, rtc.RemoteAudioTrack):
            self._spawn(self._listen(track))


def _of(text: str) -> tuple[bytes, int]:
    pcm = spoken(text)
    return pcm.data, pcm.sample_rate


class Rooms:
    """Rooms and tokens of the test server."""

    def __init__(self, server: LiveKitServer) -> None:
        self.url = server.url
        self.key = LiveKitKey(server.url, LIVEKIT_KEY, LIVEKIT_SECRET)
        self.name = secrets.token_hex(4)
        self._tokens = LiveKitTokens(self.key)

    @property
    def user_token(self) -> str:
        return self._tokens.user(self.name, USER, "u", issued_at=time.time(), ttl_s=600)

    @property
    def agent_token(self) -> str:
        return self._tokens.agent(self.name, issued_at=time.time(), ttl_s=600)

    async def delete(self) -> None:
        rooms = LiveKitRooms(self.key, empty_timeout_s=60, departure_timeout_s=60)
        await rooms.delete(self.name)
        await rooms.aclose()


@pytest.fixture
def rooms(livekit_server: LiveKitServer) -> Rooms:
    return Rooms(livekit_server)


@pytest.fixture
async def agent(rooms: Rooms) -> AsyncIterator[FakeAgent]:
    async with FakeAgent() as agent:
        agent._room.on("track_subscribed", agent.hear)
        await agent.join(rooms.url, rooms.agent_token)
        yield agent


@pytest.fixture
async def caller(rooms: Rooms) -> AsyncIterator[Caller]:
    async with Caller() as caller:
        await caller.join(rooms.url, rooms.user_token)
        yield caller


async def _once(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():
            await asyncio.sleep(0.01)


# --- the caller ------------------------------------------------------------------------------------------


async def test_an_agent_is_seen_once_its_state_is_known(agent: FakeAgent, caller: Caller) -> None:
    assert (caller.agent_state, caller.agent_seen_at) == (None, None)
    with pytest.raises(TimeoutError, match=r"waited 0\.1 s in vain for an agent in the room"):
        await caller.agent_seen(0.1)
    await agent.become("listening")
    seen_at = await caller.agent_seen(WAIT_S)
    assert caller.joined_at is not None
    assert caller.joined_at < seen_at <= time.monotonic()
    assert caller.agent_state == "listening"


async def test_what_is_said_is_heard_in_real_time_and_its_end_is_known(agent: FakeAgent, caller: Caller) -> None:
    pcm, rate = _of("what time is it")
    began = time.monotonic()
    ended_at = await caller.say_pcm(pcm, rate)
    await _once(lambda: agent.sounds and time.monotonic() > agent.sounds[-1].ended_at + 0.3)
    said_s = len(pcm) / 2 / rate
    assert said_s - 0.2 < ended_at - began < said_s + 1.0
    heard_s = agent.sounds[-1].ended_at - agent.sounds[0].began_at
    assert abs(heard_s - said_s) < 0.4
    assert abs(agent.sounds[-1].ended_at - ended_at) < 0.4


async def test_silence_after_a_sentence_is_no_part_of_it(agent: FakeAgent, caller: Caller) -> None:
    pcm, rate = _of("hello")
    with_silence = pcm + bytes(2 * rate)
    ended_at = await caller.say_pcm(with_silence, rate)
    assert 0.5 < time.monotonic() - ended_at < 2.0


async def test_the_agents_sound_is_kept_and_its_first_moment_noted(agent: FakeAgent, caller: Caller) -> None:
    assert caller.first_sound_at is None
    began = time.monotonic()
    await agent.speak("It is three o'clock.")
    heard_at = await caller.answer_to(began, WAIT_S)
    await caller.quiet(WAIT_S)
    assert began < heard_at < began + 2.0
    assert caller.first_sound_at == heard_at
    assert loudness(caller.heard_after(heard_at - 0.001)) > 500
    heard = np.frombuffer(caller.heard_pcm, np.int16)
    said_s = len(_of("It is three o'clock.")[0]) / 2 / 22_050
    audible_s = sum(loudness(frame.tobytes()) > 200 for frame in np.array_split(heard, heard.size // 960)) / 50
    assert 0.6 * said_s < audible_s < 1.2 * said_s
    assert caller.sound_after(time.monotonic()) is None


async def test_nobody_is_quiet_while_thinking(agent: FakeAgent, caller: Caller) -> None:
    await agent.become("thinking")
    await caller.agent_seen(WAIT_S)
    with pytest.raises(TimeoutError, match="an end of what the agent says"):
        await caller.quiet(0.2)
    await agent.become("listening")
    await caller.quiet(WAIT_S)


async def test_both_transcripts_grow_until_they_are_final(agent: FakeAgent, rooms: Rooms) -> None:
    shown: list[tuple[str, str, bool]] = []

    def show(line: Line) -> None:
        shown.append((line.who, line.text.strip(), line.final))

    async with Caller(on_line=show) as caller:
        await caller.join(rooms.url, rooms.user_token)
        await agent.understand("what time", "what time is it")
        await _once(lambda: caller.transcripts and caller.transcripts[0].final)
        await agent.speak("Half past two.")
        await _once(lambda: len(caller.transcripts) == 2 and caller.transcripts[1].final)
        said = [(line.who, line.text.strip()) for line in caller.transcripts]
    assert said == [("user", "what time is it"), ("agent", "Half past two.")]
    assert shown[0] == ("user", "what time", False)
    assert ("user", "what time is it", True) in shown
    assert shown[-1] == ("agent", "Half past two.", True)
    assert next(text for who, text, _ in shown if who == "agent").startswith("Half")


async def test_what_is_typed_is_in_the_transcript_and_reaches_the_agent(agent: FakeAgent, caller: Caller) -> None:
    agent.answer_chat({"are you there": "Yes."})
    sent_at = await caller.type_text("are you there")
    answered_at = await caller.answer_to(sent_at, WAIT_S)
    assert answered_at > sent_at
    typed = caller.transcripts[0]
    assert (typed.who, typed.text, typed.final) == ("user", "are you there", True)


async def test_one_who_only_types_reads_the_answer_and_hears_nothing(agent: FakeAgent, rooms: Rooms) -> None:
    agent.answer_chat({"are you there": "Yes."})
    async with Caller(sound=False) as caller:
        await caller.join(rooms.url, rooms.user_token)
        await caller.type_text("are you there")
        await _once(
            lambda: [line.text.strip() for line in caller.transcripts if line.final] == ["are you there", "Yes."]
        )
        assert (caller.heard_pcm, agent.heard_pcm) == (b"", b"")


async def test_a_room_that_closes_ends_every_wait(agent: FakeAgent, caller: Caller, rooms: Rooms) -> None:
    waiting = asyncio.create_task(caller.answer_to(time.monotonic(), WAIT_S))
    await rooms.delete()
    with pytest.raises(CallOverError, match="while waiting for an answer"):
        await waiting
    assert caller.over
    await caller.quiet(WAIT_S)


async def test_leaving_cuts_short_what_is_being_said(agent: FakeAgent, caller: Caller) -> None:
    saying = asyncio.create_task(caller.say_pcm(bytes(2 * 16_000 * 5), 16_000))
    also = asyncio.create_task(caller.say_pcm(bytes(320), 16_000))
    await asyncio.sleep(0)
    await caller.leave()
    with pytest.raises(asyncio.CancelledError):
        await saying
    with pytest.raises(asyncio.CancelledError):
        await also
    await caller.leave()


@pytest.mark.parametrize(("url", "reason"), [("ws://127.0.0.1:1", "refused"), (None, "401")])
async def test_a_room_that_cannot_be_joined_is_one_clear_error(
    url: str | None, reason: str, livekit_server: LiveKitServer
) -> None:
    with pytest.raises(RoomsUnavailableError, match=reason):
        await Caller().join(url or livekit_server.url, "no token")


# --- the conversation ------------------------------------------------------------------------------------


@contextlib.asynccontextmanager
async def _attending(agent: FakeAgent) -> AsyncIterator[None]:
    """The agent greets who comes, and answers each sound once it has ended."""

    async def attend() -> None:
        while not agent._room.remote_participants:
            await asyncio.sleep(0.01)
        await agent.become("listening")
        await agent.speak("Welcome.")
        answered = 0.0
        while True:
            await asyncio.sleep(0.01)
            last = agent.sounds[-1].ended_at if agent.sounds else 0.0
            if last > answered and time.monotonic() > last + 0.3:
                answered = last
                await agent.understand("what was said")
                await agent.speak("I heard you.")

    agent.answer_chat({"typed": "I can read."})
    attending = asyncio.create_task(attend())
    try:
        yield
    finally:
        attending.cancel()
        await asyncio.gather(attending, return_exceptions=True)


async def test_a_whole_conversation_is_reported(agent: FakeAgent, rooms: Rooms) -> None:
    report = Report("s", True, Timeline(time.monotonic()))
    utterances = [Utterance("say", "are you there", spoken("are you there")), Utterance("type", "typed")]
    async with _attending(agent):
        room = Room(rooms.url, rooms.user_token)
        await converse(room, utterances, report, on_line=None, timeout_s=WAIT_S)
    assert report.error is None
    assert [(line.who, line.text.strip()) for line in report.transcript] == [
        ("agent", "Welcome."),
        ("user", "what was said"),
        ("agent", "I heard you."),
        ("user", "typed"),
        ("agent", "I can read."),
    ]
    steps = report.timeline.steps
    joined, seen, sound = (steps[name] or 0.0 for name in ("roomJoinedMs", "agentSeenMs", "firstSoundMs"))
    assert 0 < joined <= seen < sound < 5000
    aloud, typed = (sentence.answer_ms or 0.0 for sentence in report.sentences)
    assert 300 < aloud < 3000
    assert 0 < typed < 3000
    pcm, rate = report.heard
    assert rate == SAMPLE_RATE
    assert loudness(pcm) > 200


async def test_an_agent_that_does_not_answer_is_an_error_with_what_there_was(agent: FakeAgent, rooms: Rooms) -> None:
    await agent.become("listening")
    report = Report("s", True, Timeline(time.monotonic()))
    await converse(
        Room(rooms.url, rooms.user_token),
        [Utterance("type", "nobody reads this")],
        report,
        on_line=None,
        timeout_s=0.3,
    )
    assert report.error == "waited 0.3 s in vain for an answer"
    assert [sentence.answer_ms for sentence in report.sentences] == [None]
    assert report.timeline.agent_seen_at is not None


async def test_a_livekit_that_stops_in_a_call_is_an_error_with_what_there_was(tmp_path: Path) -> None:
    report = Report("s", True, Timeline(time.monotonic()))
    with running(LiveKitServer.create(tmp_path)) as server:
        assert isinstance(server, LiveKitServer)
        rooms = Rooms(server)
        async with FakeAgent() as agent:
            await agent.join(rooms.url, rooms.agent_token)
            agent.answer_chat({"are you there": "Yes."})
            await agent.become("listening")

            def stop(line: Line) -> None:
                if line.who == "agent" and line.final:
                    server.stop(signal.SIGKILL)

            typed = [Utterance("type", "are you there"), Utterance("type", "and now")]
            room = Room(rooms.url, rooms.user_token)
            async with asyncio.timeout(90):
                await converse(room, typed, report, on_line=stop, timeout_s=WAIT_S)
    assert report.error == "the connection to LiveKit was lost, and what was typed was not sent"
    assert [sentence.text for sentence in report.sentences] == ["are you there"]


# --- the command -----------------------------------------------------------------------------------------


class FakeApi:
    """What the command asks of the API."""

    def __init__(self, url: str, token: str) -> None:
        self.requests: list[tuple[str, str]] = []
        self._join = {"url": url, "token": token}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append((request.method, request.url.path))
        if request.method == "POST":
            content = {"sessionId": "prewarm_1", "prewarmed": True, "join": self._join}
            return httpx.Response(200, json=content)
        return httpx.Response(200, json={"status": "ended"})


def _serve(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    client = CallerClient("http://api", None, httpx.MockTransport(api))
    monkeypatch.setattr(talk_session, "find_api", lambda url, key: client)


async def _run(*options: str) -> Any:
    """The command has an event loop of its own, so it needs a thread of its own."""
    return await asyncio.to_thread(CliRunner().invoke, app, ["talk", *options])


async def test_the_command_prints_one_document_and_saves_what_it_heard(
    agent: FakeAgent, rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    api = FakeApi(rooms.url, rooms.user_token)
    _serve(api, monkeypatch)
    async with _attending(agent):
        result = await _run("--say", "hello there", "--json", "--out", "heard.wav")
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    assert (document["sessionId"], document["ended"], document["error"]) == ("prewarm_1", True, None)
    assert document["transcript"][-1]["text"] == "I heard you."
    assert document["sentences"][0]["answerMs"] > 300
    assert api.requests == [("POST", "/api/session/start"), ("DELETE", "/api/session/prewarm_1")]
    heard = read_wav(tmp_path / "heard.wav")
    assert heard.sample_rate == SAMPLE_RATE
    assert loudness(heard.data) > 200


async def test_the_session_is_kept_when_asked_to(
    agent: FakeAgent, rooms: Rooms, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    api = FakeApi(rooms.url, rooms.user_token)
    _serve(api, monkeypatch)
    async with _attending(agent):
        result = await _run("--keep")
    assert result.exit_code == 0, result.output
    assert " agent Welcome." in result.stdout
    assert "session prewarm_1 · was waiting" in result.stdout
    assert api.requests == [("POST", "/api/session/start")]


async def test_without_livekit_the_session_is_ended_and_the_command_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    api = FakeApi("ws://127.0.0.1:1", "t")
    _serve(api, monkeypatch)
    result = await _run("--say", "hello")
    assert result.exit_code == 1
    assert result.stderr.startswith("greenroom: LiveKit at ws://127.0.0.1:1 cannot be joined")
    assert result.stderr.count("\n") == 1
    assert api.requests[-1] == ("DELETE", "/api/session/prewarm_1")
