"""The paid providers, through their livekit-agents plugins. Nothing here connects: their streams do."""

from __future__ import annotations

import logging
from typing import Any, cast

from livekit.agents import NOT_GIVEN, NotGivenOr, llm, stt, tts
from livekit.plugins import assemblyai, groq, inworld

from agent.settings import AgentSettings
from contract.messages import Assignment

logger = logging.getLogger("greenroom.agent")

_LONGEST_PAUSE_MS = 1000
"""AssemblyAI ends a turn at once after a whole sentence, and after this silence in any case."""


def listener(key: str, settings: AgentSettings, assignment: Assignment) -> stt.STT[Any]:
    """AssemblyAI's streaming recognition; it is billed from when the session opens its stream."""
    return cast(
        "stt.STT[Any]",
        assemblyai.STT(
            api_key=key,
            base_url=settings.assembly_base_url.rstrip("/"),
            model=settings.assembly_model,  # type: ignore[arg-type]
            max_turn_silence=_LONGEST_PAUSE_MS,
            language_codes=_steering(settings.assembly_model, assignment.language),
        ),
    )


def _steering(model: str, language: str | None) -> NotGivenOr[list[str]]:
    """Only the Universal-3 family can be told the language; the others find it themselves."""
    if language is None:
        return NOT_GIVEN
    if not model.startswith(("u3", "universal-3")):
        logger.warning("this model takes no language", extra={"model": model, "language": language})
        return NOT_GIVEN
    return [language]


def thinker(key: str, settings: AgentSettings) -> llm.LLM[Any]:
    """Groq's chat completions."""
    return groq.LLM(
        api_key=key,
        base_url=settings.groq_base_url,
        model=settings.groq_model,
    )


def speaker(key: str, settings: AgentSettings, assignment: Assignment) -> tts.TTS[Any]:
    """Inworld's voices. An unknown voice or language is the provider's to refuse, in words, at its first use."""
    return inworld.TTS(
        api_key=key,
        base_url=settings.inworld_base_url,
        ws_url=settings.inworld_ws_url,
        model=settings.inworld_model,
        voice=assignment.voice or settings.inworld_voice,
        language=assignment.language or NOT_GIVEN,
    )
