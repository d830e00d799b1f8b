"""Text from speech, offline: pocketsphinx with a grammar of the few phrases the offline voice knows."""

from __future__ import annotations

import asyncio
import functools
import threading

import numpy as np
from livekit import rtc
from livekit.agents import NOT_GIVEN, APIConnectOptions, LanguageCode, NotGivenOr, stt, utils
from pocketsphinx import Config, Decoder
from typing_extensions import override

from agent.voices.phrases import NOT_UNDERSTOOD, NUMBERS, PHRASES

SAMPLE_RATE = 16_000

_FILLER_PHONES = ("AA", "AY", "EH", "ER", "IY", "OW", "UW", "S", "SH", "T", "K", "M", "L", "B")
"""A loop of these matches any speech, so that what is no phrase need not be forced into one."""
_FILLER_PREFIX = "filler-"
_WORD_PENALTY = 1e-4
"""The cost of one more word. It decides how readily the filler loop, which needs a word for each phone, wins
over a phrase: at 1e-3 more nonsense is heard as a phrase, at 1e-6 most phrases are lost."""
_MAX_ACTIVE_HMMS = 600
"""For each 10 ms frame; bounds the time that the filler loop can take."""
_NOISE_AMPLITUDE = 40.0
"""Added to the sound (of ±32768): digital silence is unlike anything the acoustic model was trained on, and
without it 9 of 84 spoken phrases were lost, with it 1."""
SILENCE_AROUND_S = 0.8
"""Voice detection keeps so much silence around the speech it cuts out."""
_SHORTEST_SPEECH_S = 0.2
_SLOWEST_PHONE_S = 0.22
"""Speech that would need longer phones than this to be the phrase is something else."""
_decoding = threading.Lock()


def _grammar() -> str:
    phrases = [phrase for intent, group in PHRASES.items() if intent != "count" for phrase in group]
    filler = " | ".join(_FILLER_PREFIX + phone.lower() for phone in _FILLER_PHONES)
    return (
        "#JSGF V1.0;\ngrammar greenroom;\n"
        f"<number> = {' | '.join(NUMBERS)};\n"
        f"<filler> = {filler};\n"
        f"public <utterance> = count to <number> | {' | '.join(phrases)} | <filler>+;\n"
    )


@functools.cache
def decoder() -> Decoder:
    """The one decoder of this process, its acoustic model mapped and its grammar compiled."""
    config = Config(lm=None, loglevel="FATAL", cmn="batch", wip=_WORD_PENALTY, maxhmmpf=_MAX_ACTIVE_HMMS)
    made = Decoder(config)
    for phone in _FILLER_PHONES:
        made.add_word(_FILLER_PREFIX + phone.lower(), phone, phone == _FILLER_PHONES[-1])
    made.add_jsgf_string("greenroom", _grammar())
    made.activate_search("greenroom")
    return made


@functools.cache
def _known() -> frozenset[str]:
    return frozenset(phrase for group in PHRASES.values() for phrase in group)


def recognise(pcm: bytes) -> str:
    """The phrase in mono int16 PCM of 16 kHz, or ``NOT_UNDERSTOOD``, or nothing when nobody spoke."""
    samples = np.frombuffer(pcm, np.int16)
    noise = np.random.default_rng(0).normal(0.0, _NOISE_AMPLITUDE, samples.size)
    audible = np.clip(samples + noise, -32768, 32767).astype(np.int16).tobytes()
    with _decoding:
        heard, phones = _decode(audible)
    spoken_s = samples.size / SAMPLE_RATE - SILENCE_AROUND_S
    if heard in _known() and spoken_s <= phones * _SLOWEST_PHONE_S:
        return heard
    return NOT_UNDERSTOOD if spoken_s >= _SHORTEST_SPEECH_S else ""


def _decode(pcm: bytes) -> tuple[str, int]:
    """``(words, number of phones in them)``."""
    engine = decoder()
    engine.start_utt()
    engine.process_raw(pcm, full_utt=True)
    engine.end_utt()
    hypothesis = engine.hyp()
    words: str = hypothesis.hypstr if hypothesis else ""
    return words, sum(len((engine.lookup_word(word) or "").split()) for word in words.split())


class PhraseSTT(stt.STT[str]):
    """Recognises one utterance at a time; the session's voice detection cuts them."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=False, interim_results=False))

    @property
    @override
    def model(self) -> str:
        return "pocketsphinx"

    @property
    @override
    def provider(self) -> str:
        return "offline"

    @override
    async def _recognize_impl(
        self,
        buffer: utils.AudioBuffer,
        *,
        language: NotGivenOr[str] = NOT_GIVEN,
        conn_options: APIConnectOptions,
    ) -> stt.SpeechEvent:
        frame = rtc.combine_audio_frames(buffer)
        text = await asyncio.to_thread(recognise, _at_sample_rate(frame))
        heard = [stt.SpeechData(language=LanguageCode("en"), text=text)]
        return stt.SpeechEvent(type=stt.SpeechEventType.FINAL_TRANSCRIPT, alternatives=heard)


def _at_sample_rate(frame: rtc.AudioFrame) -> bytes:
    if frame.sample_rate == SAMPLE_RATE:
        return bytes(frame.data)
    resampler = rtc.AudioResampler(frame.sample_rate, SAMPLE_RATE)
    return b"".join(bytes(part.data) for part in [*resampler.push(frame), *resampler.flush()])
