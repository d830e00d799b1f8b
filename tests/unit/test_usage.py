"""An agent's meter over livekit-agents' own events: what is reported, and that nothing is reported twice."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import Agent, ConversationItemAddedEvent, ErrorEvent, SessionUsageUpdatedEvent, llm, stt
from livekit.agents.metrics import LLMModelUsage, STTModelUsage, TTSModelUsage
from livekit.agents.metrics.usage import AgentSessionUsage

from agent.host_link import HostLink
from agent.settings import AgentSettings
from agent.usage import Meter, provider_of
from agent.voices import build
from agent.voices.recognition import PhraseSTT
from contract.measures import Timing, Used
from contract.messages import AnyMessage, Assignment, Hello, Measured, parse_line
from tests.support.brought import Cartesia, Deepgram

ASSIGNMENT = Assignment(session_id="session_00000000", fence=1, user_id="u")
HELLO = Hello(session_id="session_00000000", pid=1, start_ticks=1, phase="active", created_at=1.0)


class Session(rtc.EventEmitter[Any]):
    """Emits what a session does."""

    def __init__(self) -> None:
        super().__init__()
        self.current_agent = Agent(instructions="")

    def says(self, role: llm.ChatRole, *, interrupted: bool = False, **metrics: Any) -> None:
        item = llm.ChatMessage(role=role, content=["words"], interrupted=interrupted, metrics=metrics)
        self.emit("conversation_item_added", ConversationItemAddedEvent(item=item))

    def used(self, *usage: LLMModelUsage | STTModelUsage | TTSModelUsage) -> None:
        self.emit("session_usage_updated", SessionUsageUpdatedEvent(usage=AgentSessionUsage(list(usage))))

    def fails(self, error: Any, source: Any = None) -> None:
        self.emit("error", ErrorEvent(error=error, source=source))


def _told(provider: str, model: str) -> dict[str, str]:
    return {"model_provider": provider, "model_name": model}


@pytest.fixture
def reports() -> list[Measured]:
    return []


@pytest.fixture
def session() -> Session:
    return Session()


@pytest.fixture
async def meter(session: Session, reports: list[Measured]) -> Meter:
    made = Meter(build(ASSIGNMENT, AgentSettings(groq_api_key="k")), reports.append)
    made.watch(session)  # type: ignore[arg-type]
    return made


async def test_an_answer_is_reported_with_its_parts(meter: Meter, session: Session, reports: list[Measured]) -> None:
    session.says("user", transcription_delay=0.3)
    assert reports == []
    session.says("assistant", llm_node_ttft=0.1, tts_node_ttfb=0.05, e2e_latency=0.7)
    [report] = reports
    assert report.timings == (
        Timing(of="stt", provider="offline", seconds=0.3),
        Timing(of="llm", provider="groq", seconds=0.1),
        Timing(of="tts", provider="offline", seconds=0.05),
        Timing(of="latency", provider="other", seconds=0.7),
    )
    assert (report.seq, report.barge_ins) == (1, 0)


async def test_what_an_agent_brought_is_not_the_voices(meter: Meter, session: Session, reports: list[Measured]) -> None:
    session.says("user", transcription_delay=0.3, stt_metadata=_told("Deepgram", "nova"))
    own_llm, own_tts = _told("api.openai.com", "gpt"), _told("Inworld", "own")
    session.says("assistant", llm_node_ttft=0.1, llm_metadata=own_llm, tts_node_ttfb=0.05, tts_metadata=own_tts)
    [report] = reports
    assert [(timing.of, timing.provider) for timing in report.timings] == [
        ("stt", "other"), ("llm", "other"), ("tts", "inworld"),
    ]  # fmt: skip


async def test_the_voices_own_is_known_whatever_it_calls_itself(session: Session, reports: list[Measured]) -> None:
    voice = build(ASSIGNMENT, AgentSettings())
    voice = replace(voice, stt=Deepgram(), providers=("assemblyai", *voice.providers[1:]))
    Meter(voice, reports.append).watch(session)  # type: ignore[arg-type]
    session.says("user", transcription_delay=0.3, stt_metadata=voice.stt.metrics_metadata)
    session.says("assistant")
    assert [timing.provider for timing in reports[0].timings] == ["assemblyai"]


async def test_a_line_that_is_said_is_of_who_speaks_it(meter: Meter, session: Session, reports: list[Measured]) -> None:
    """Of a greeting livekit-agents does not tell whose voice it was."""
    session.says("assistant", tts_node_ttfb=0.05)
    session.current_agent = Agent(instructions="", tts=Cartesia())
    session.says("assistant", tts_node_ttfb=0.05)
    assert [report.timings[0].provider for report in reports] == ["offline", "other"]


async def test_errors_are_of_the_ears_that_made_them(meter: Meter, session: Session, reports: list[Measured]) -> None:
    error = stt.STTError(timestamp=1.0, label="x", error=OSError(), recoverable=True)
    session.fails(error, PhraseSTT())
    session.fails(error, Deepgram())
    meter.close()
    assert reports[0].transcription_errors == ("offline", "other")


async def test_usage_is_what_was_added(meter: Meter, session: Session, reports: list[Measured]) -> None:
    model = AgentSettings().groq_model
    heard = STTModelUsage(provider="offline", model="pocketsphinx", audio_duration=2.0)
    session.used(heard, LLMModelUsage(provider="api.groq.com", model=model, input_tokens=100, output_tokens=10))
    session.says("assistant")
    session.used(
        heard,
        LLMModelUsage(provider="api.groq.com", model=model, input_tokens=150, output_tokens=30),
        LLMModelUsage(provider="elsewhere", model="own", input_tokens=7),
        TTSModelUsage(provider="Inworld", model="x", characters_count=12),
    )
    session.says("assistant")
    session.says("assistant")
    meter.close()
    assert [report.seq for report in reports] == [1, 2]
    assert reports[0].used == (
        Used(unit="stt_seconds", provider="offline", amount=2.0),
        Used(unit="llm_input_tokens", provider="groq", amount=100),
        Used(unit="llm_output_tokens", provider="groq", amount=10),
    )
    assert reports[1].used == (
        Used(unit="llm_input_tokens", provider="groq", amount=50),
        Used(unit="llm_output_tokens", provider="groq", amount=20),
        Used(unit="llm_input_tokens", provider="other", amount=7),
        Used(unit="tts_characters", provider="inworld", amount=12),
    )


async def test_the_rest_is_reported_at_the_end(meter: Meter, session: Session, reports: list[Measured]) -> None:
    session.fails(stt.STTError(timestamp=1.0, label="x", error=OSError(), recoverable=True))
    session.fails(llm.LLMError(timestamp=1.0, label="x", error=OSError(), recoverable=True))
    session.says("user", transcription_delay=0.3)
    meter.close()
    [report] = reports
    assert report.transcription_errors == ("offline",)
    assert len(report.timings) == 1


async def test_an_answer_that_its_user_cut_short(meter: Meter, session: Session, reports: list[Measured]) -> None:
    session.says("assistant", interrupted=True)
    meter.close()
    session.says("assistant", interrupted=True)  # by the end of the call
    assert [report.barge_ins for report in reports] == [1]


async def test_nonsense_is_left_out(meter: Meter, session: Session, reports: list[Measured]) -> None:
    session.says("assistant", e2e_latency=-1.0, llm_node_ttft=1e9)
    meter.close()
    assert reports == []


def test_there_are_few_names_of_providers() -> None:
    names = {said: provider_of(said) for said in ("AssemblyAI", "api.groq.com", "Inworld", "offline", "my own", "")}
    assert list(names.values()) == ["assemblyai", "groq", "inworld", "offline", "other", "other"]


async def test_reports_are_sent_again_to_each_new_host(tmp_path: Path) -> None:
    """What a host had heard, and had not told the store when it died, is lost with it."""
    heard: list[list[int]] = []
    enough = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen: list[int] = []
        heard.append(seen)
        while len(seen) < len(heard) and (line := await reader.readline()):
            message = parse_line(line)
            if isinstance(message, Measured):
                seen.append(message.seq)
        if len(heard) == 2:
            enough.set()
        writer.close()

    async def on_message(_: AnyMessage) -> None: ...

    path = str(tmp_path / "s")
    server = await asyncio.start_unix_server(serve, path)
    link = HostLink(path, lambda: HELLO, on_message)
    link.send(Measured(seq=1))
    running = asyncio.create_task(link.run())
    async with asyncio.timeout(20):
        while not heard:
            await asyncio.sleep(0)
        link.send(Measured(seq=2))
        await enough.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    server.close()
    assert heard[:2] == [[1], [1, 2]]
