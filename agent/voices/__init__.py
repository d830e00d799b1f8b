"""How an agent hears, thinks and speaks: the paid providers whose keys are set, and offline counterparts.

The providers' plugins are imported only where a key is set: they are a quarter of what a zygote loads.
"""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
from livekit import local_inference
from livekit.agents import (
    ConversationItemAddedEvent,
    TurnHandlingOptions,
    inference,
    llm,
    stt,
    tokenize,
    tts,
    vad,
)
from livekit.agents.utils import http_context

from agent.settings import AgentSettings, load_settings
from agent.voices import recognition
from agent.voices.recognition import PhraseSTT
from agent.voices.script import ScriptedLLM
from agent.voices.speech import EspeakTTS
from contract.measures import Provider
from contract.messages import Assignment
from speech import espeak

_PAUSE_S = 0.35
"""Silence that ends an utterance: above a pause of 0.3 s inside a sentence, which must not end it."""
_LONGEST_UTTERANCE_S = 30.0


_IMPORTED_AT_FIRST_USE = ("livekit.agents.llm.async_toolset", "livekit.rtc.resources", "numpy.fft")
"""By livekit-agents, which each agent would otherwise do for itself."""


@dataclass(frozen=True)
class Voice:
    """One agent's ears, mind and mouth. Built in its own process; nothing is connected yet."""

    stt: stt.STT[Any]
    llm: llm.LLM[Any]
    tts: tts.TTS[Any]
    vad: vad.VAD
    turn_handling: TurnHandlingOptions
    demonstration: bool
    """Whether any part of it is the offline one."""
    providers: tuple[Provider, Provider, Provider] = ("other", "other", "other")
    """Whose these three are, in this order."""

    async def aclose(self) -> None:
        """Close what the three keep open."""
        await asyncio.gather(self.stt.aclose(), self.llm.aclose(), self.tts.aclose())


def preload() -> None:
    """Map every model and load what a session first uses, so that forks share it instead of each paying.

    Starts no thread, loop or client. ``OPENBLAS_NUM_THREADS=1`` must be in the environment: numpy starts native threads
    otherwise.
    """
    settings = load_settings()  # a wrong one is told of here, before any fork
    if settings.has_provider:
        importlib.import_module("agent.voices.providers")
    for name in _IMPORTED_AT_FIRST_USE:
        importlib.import_module(name)
    local_inference.init_vad()
    warm = local_inference.VAD()
    warm.predict(np.zeros(local_inference.VAD_WINDOW_SAMPLES, np.int16))
    warm.close()
    pcm, rate = espeak.speak_to_pcm("what time is it")
    recognition.recognise(bytes(rate) + pcm)
    http_context._create_ssl_context()
    _rehearse_text()


def _rehearse_text() -> None:
    """Sentence splitting, hyphenation and the lazily built message types, which each agent would load for itself."""
    tokenize.blingfire.SentenceTokenizer(retain_format=True).tokenize("One sentence. Another one.")
    tokenize.basic.hyphenate_word("demonstration")
    context = llm.ChatContext.empty()
    item = context.add_message(role="user", content="hello")
    ConversationItemAddedEvent(item=item)


def build(assignment: Assignment, settings: AgentSettings | None = None) -> Voice:
    """The voice for this assignment, from the keys that are set."""
    settings = settings or load_settings()
    return Voice(
        stt=_stt(settings, assignment),
        llm=_llm(settings),
        tts=_tts(settings, assignment),
        vad=inference.VAD(min_silence_duration=_PAUSE_S, max_buffered_speech=_LONGEST_UTTERANCE_S),
        turn_handling=_turn_handling(settings),
        demonstration=settings.demonstration,
        providers=(
            "assemblyai" if settings.assembly_api_key else "offline",
            "groq" if settings.groq_api_key else "offline",
            "inworld" if settings.inworld_api_key else "offline",
        ),
    )


def _stt(settings: AgentSettings, assignment: Assignment) -> stt.STT[Any]:
    if settings.assembly_api_key is None:
        return PhraseSTT()
    from agent.voices import providers

    return providers.listener(settings.assembly_api_key.get_secret_value(), settings, assignment)


def _llm(settings: AgentSettings) -> llm.LLM[Any]:
    if settings.groq_api_key is None:
        return ScriptedLLM()
    from agent.voices import providers

    return providers.thinker(settings.groq_api_key.get_secret_value(), settings)


def _tts(settings: AgentSettings, assignment: Assignment) -> tts.TTS[Any]:
    if settings.inworld_api_key is None:
        return EspeakTTS(voice=assignment.voice, language=assignment.language)
    from agent.voices import providers

    return providers.speaker(settings.inworld_api_key.get_secret_value(), settings, assignment)


def _turn_handling(settings: AgentSettings) -> TurnHandlingOptions:
    """When the user is done, and what interrupts the agent.

    AssemblyAI says itself when a turn ended; offline, silence does. The default would be a model of 108 MB.
    """
    by_provider = settings.assembly_api_key is not None
    return TurnHandlingOptions(
        turn_detection="stt" if by_provider else "vad",
        endpointing={"mode": "fixed", "min_delay": 0.0 if by_provider else _PAUSE_S, "max_delay": 1.0},
        interruption={"mode": "vad", "min_duration": 0.4},
        preemptive_generation={"enabled": True, "preemptive_tts": True},
    )
