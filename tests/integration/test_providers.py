"""A complete spoken turn through the three paid providers' real plugins, against local stand-ins."""

from __future__ import annotations

import uuid

import pytest

from agent.assistant import assistant
from agent.conversation import Conversation
from agent.settings import load_settings
from contract.messages import Assignment, Measured, Turn
from tests.support.providers import KEY, Providers, providers
from tests.support.servers import LiveKitServer
from tests.support.speech import joined, spoken, until, user_in


@pytest.fixture(autouse=True)
def fresh_settings() -> None:
    load_settings.cache_clear()


def point_at(stand_ins: Providers, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in stand_ins.environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.alone
async def test_a_spoken_turn_through_the_real_plugins(
    livekit_server: LiveKitServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    turns: list[Turn] = []
    ends: list[str] = []
    reports: list[Measured] = []
    name = f"room-{uuid.uuid4().hex}"
    assignment = Assignment(
        session_id=f"session_{uuid.uuid4().hex}",
        fence=1,
        user_id="u",
        user_name="Ada",
        voice="Hades",
        language="en",
        system_prompt="Answer like a porter.",
    )
    async with providers() as stand_ins, joined(livekit_server, name, "agent", agent=True) as room:
        point_at(stand_ins, monkeypatch)
        conversation = Conversation(
            room, assignment, assistant, on_turn=turns.append, on_end=ends.append, on_measured=reports.append
        )
        async with user_in(livekit_server, name) as user:
            await until(lambda: room.remote_participants, "the agent waits, the user is there")
            assert stand_ins.stt_queries == []

            await conversation.start()
            await until(lambda: stand_ins.stt_streams == 1, "the speech stream opened at the claim")
            await conversation.greet()
            await until(lambda: turns, "the greeting was spoken")
            await user.quiet()

            await user.say(spoken("where is the station"))
            await until(lambda: len(turns) == 3, "an answer")
            await user.quiet()
            assert user.heard_s > 0.5
        conversation.measure()
        await conversation.aclose()
        await until(lambda: stand_ins.stt_streams == 0, "the speech stream closed")

    assert [(turn.role, turn.text) for turn in turns] == [
        ("assistant", "Hello, Ada. How can I help you?"),
        ("user", stand_ins.transcript),
        ("assistant", stand_ins.reply),
    ]
    assert not ends
    assert stand_ins.authorizations == {KEY, f"Bearer {KEY}", f"Basic {KEY}"}
    assert stand_ins.stt_queries[0]["language_codes"] == '["en"]'
    assert stand_ins.heard_bytes > 0
    assert stand_ins.chat_requests[0]["messages"][0]["content"] == "Answer like a porter."
    assert {context["voiceId"] for context in stand_ins.tts_contexts} == {"Hades"}
    assert "".join(stand_ins.spoken).strip().endswith(stand_ins.reply)

    assert [report.seq for report in reports] == list(range(1, len(reports) + 1))
    timed = {(timing.of, timing.provider) for report in reports for timing in report.timings}
    assert timed == {("stt", "assemblyai"), ("llm", "groq"), ("tts", "inworld"), ("latency", "other")}
    used: dict[str, float] = {}
    for each in (each for report in reports for each in report.used):
        used[f"{each.provider}.{each.unit}"] = used.get(f"{each.provider}.{each.unit}", 0) + each.amount
    assert used.pop("assemblyai.stt_seconds") > 1
    assert used == {
        "groq.llm_input_tokens": stand_ins.tokens[0],
        "groq.llm_output_tokens": stand_ins.tokens[1],
        "inworld.tts_characters": sum(map(len, stand_ins.spoken)),
    }
    assert not any(report.transcription_errors for report in reports)
