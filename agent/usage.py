"""What a call takes and uses, from livekit-agents' own events, as reports to the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from livekit.agents import (
    AgentSession,
    ConversationItemAddedEvent,
    ErrorEvent,
    SessionUsageUpdatedEvent,
    llm,
    stt,
    tts,
)
from livekit.agents.metrics import LLMModelUsage, STTModelUsage, TTSModelUsage

from agent.voices import Voice
from contract.measures import Provider, Timed, Timing, Unit, Used
from contract.messages import Measured

_MOST_S = 3_600.0
_MOST_AT_ONCE = 60
_KNOWN: tuple[Provider, ...] = ("assemblyai", "groq", "inworld", "offline")


class Meter:
    """Listens to one session and reports after each answer, and at the end.

    Usage comes as the session's totals; what is reported is what was added since the report before. Whose a part was is
    what livekit-agents says of it, for a user's own agent may have brought it.
    """

    def __init__(self, voice: Voice, report: Callable[[Measured], None]) -> None:
        self._own = {(part.provider, part.model): name for part, name in _parts(voice)}
        self._stt, self._llm, self._tts = voice.providers
        self._session: AgentSession[Any] | None = None
        self._report = report
        self._seq = 0
        self._timings: list[Timing] = []
        self._errors: list[Provider] = []
        self._barge_ins = 0
        self._closed = False
        self._totals: dict[tuple[Unit, Provider], float] = {}
        self._told: dict[tuple[Unit, Provider], float] = {}

    def watch(self, session: AgentSession[Any]) -> None:
        """Listen from now on."""
        self._session = session
        session.on("conversation_item_added", self._item_added)
        session.on("session_usage_updated", self._usage_updated)
        session.on("error", self._failed)

    def close(self) -> None:
        """Report the rest. What ends from then on is cut short by the end, and by no user."""
        self.flush()
        self._closed = True

    def flush(self) -> None:
        """Report what was not reported yet, if there is something."""
        used = [
            Used(unit=unit, provider=provider, amount=total - self._told.get((unit, provider), 0.0))
            for (unit, provider), total in self._totals.items()
            if total > self._told.get((unit, provider), 0.0)
        ]
        if not (used or self._timings or self._errors or self._barge_ins):
            return
        self._seq += 1
        self._report(
            Measured(
                seq=self._seq,
                timings=tuple(self._timings),
                used=tuple(used),
                barge_ins=self._barge_ins,
                transcription_errors=tuple(self._errors),
            )
        )
        self._told = dict(self._totals)
        self._timings, self._errors, self._barge_ins = [], [], 0

    def _item_added(self, event: ConversationItemAddedEvent) -> None:
        item = event.item
        if self._closed or not isinstance(item, llm.ChatMessage):
            return
        took = item.metrics
        self._time("stt", self._whose(took.get("stt_metadata"), self._stt), took.get("transcription_delay"))
        self._time("llm", self._whose(took.get("llm_metadata"), self._llm), took.get("llm_node_ttft"))
        self._time("tts", self._whose(took.get("tts_metadata"), self._speaker), took.get("tts_node_ttfb"))
        self._time("latency", "other", took.get("e2e_latency"))
        if item.role == "assistant":
            self._barge_ins += item.interrupted
            self.flush()

    def _time(self, of: Timed, provider: Provider, seconds: float | None) -> None:
        if seconds is not None and 0 <= seconds <= _MOST_S and len(self._timings) < _MOST_AT_ONCE:
            self._timings.append(Timing(of=of, provider=provider, seconds=seconds))

    def _whose(self, told: Mapping[str, Any] | None, otherwise: Provider) -> Provider:
        return self._name(told.get("model_provider"), told.get("model_name")) if told else otherwise

    def _name(self, provider: str | None, model: str | None) -> Provider:
        """The voice's own parts first: what a plugin calls itself may be the name in an address."""
        return self._own.get((provider, model)) or provider_of(provider or "")

    @property
    def _speaker(self) -> Provider:
        """Who speaks a line that ``say`` was given: livekit-agents does not tell of that."""
        mouth = self._session.current_agent.tts if self._session else None
        return self._whose(mouth.metrics_metadata, self._tts) if isinstance(mouth, tts.TTS) else self._tts

    def _usage_updated(self, event: SessionUsageUpdatedEvent) -> None:
        totals: dict[tuple[Unit, Provider], float] = {}
        for usage in event.usage.model_usage:
            name = self._name(usage.provider, usage.model)
            for unit, amount in _amounts(usage):
                totals[unit, name] = totals.get((unit, name), 0.0) + amount
        self._totals = totals

    def _failed(self, event: ErrorEvent) -> None:
        if isinstance(event.error, stt.STTError) and len(self._errors) < _MOST_AT_ONCE:
            told = event.source.metrics_metadata if isinstance(event.source, stt.STT) else None
            self._errors.append(self._whose(told, self._stt))


def provider_of(said: str) -> Provider:
    """The few names that there are, for whatever a plugin calls itself."""
    return next((name for name in _KNOWN if name in said.lower()), "other")


def _parts(voice: Voice) -> list[tuple[Any, Provider]]:
    return [(part, voice.providers[at]) for at, part in enumerate((voice.stt, voice.llm, voice.tts))]


def _amounts(usage: object) -> list[tuple[Unit, float]]:
    match usage:
        case STTModelUsage():
            return [("stt_seconds", usage.audio_duration)]
        case LLMModelUsage():
            return [("llm_input_tokens", usage.input_tokens), ("llm_output_tokens", usage.output_tokens)]
        case TTSModelUsage():
            return [("tts_characters", usage.characters_count)]
    return []
