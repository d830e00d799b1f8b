"""Speech from text by espeak-ng: a small ctypes wrapper of the library that ``espeakng-loader`` carries.

The library keeps its state in globals and computes in the calling thread (its *synchronous* mode; the
retrieval mode would start a thread, which must not exist before a fork). One lock guards that state.
"""

from __future__ import annotations

import ctypes
import functools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

import espeakng_loader

logger = logging.getLogger("greenroom.speech")

DEFAULT_VOICE = "en-us"
WORDS_PER_MINUTE = 160
"""A little under espeak-ng's 175: easier to follow, and easier to recognise."""

_SYNCHRONOUS = 2
_UTF8 = 1
_POSITION_CHARACTER = 1
_PARAMETER_RATE = 1
_ALL_IS_WELL = 0
_CHUNK_MS = 200

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)
_lock = threading.Lock()


@dataclass(frozen=True)
class _Library:
    handle: ctypes.CDLL
    sample_rate: int


@functools.cache
def _library() -> _Library:
    """Load and initialise the library once for the process."""
    handle = ctypes.CDLL(espeakng_loader.get_library_path())
    handle.espeak_Synth.argtypes = [
        ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int,
        ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p,
    ]  # fmt: skip
    path = espeakng_loader.get_data_path().encode()
    sample_rate = handle.espeak_Initialize(_SYNCHRONOUS, _CHUNK_MS, path, 0)
    if sample_rate <= 0:
        raise RuntimeError("espeak-ng did not initialise: its voice data could not be read")
    return _Library(handle, sample_rate)


def sample_rate() -> int:
    """Hz of everything that is spoken."""
    return _library().sample_rate


def has_voice(name: str) -> bool:
    """Whether espeak-ng knows this voice or language, e.g. ``en-gb``, ``de``, ``en-us+f3``."""
    with _lock:
        return bool(_library().handle.espeak_SetVoiceByName(name.encode()) == _ALL_IS_WELL)


def choose_voice(voice: str | None, language: str | None) -> str:
    """The first of voice, language and default that espeak-ng has. An unknown one is a warning, no error."""
    wanted: list[tuple[str, tuple[str, ...]]] = [(voice, (voice,))] if voice else []
    if language:
        # espeak-ng files "en-GB" under "en" and "fr-FR" under "fr"
        wanted.append((language, (language, language.lower(), language.split("-")[0].lower())))
    for asked, names in wanted:
        found = next(filter(has_voice, names), None)
        if found:
            return found
        logger.warning("espeak-ng has no such voice", extra={"voice": asked, "default": DEFAULT_VOICE})
    return DEFAULT_VOICE


def speak(
    text: str,
    on_audio: Callable[[bytes], bool],
    *,
    voice: str = DEFAULT_VOICE,
    words_per_minute: int = WORDS_PER_MINUTE,
) -> None:
    """Speak ``text`` into ``on_audio``: mono int16 PCM of at most 200 ms a call. It returns False to stop."""
    library = _library()

    def receive(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if not samples or count <= 0:
            return 0
        return 0 if on_audio(ctypes.string_at(samples, count * 2)) else 1

    callback = _Callback(receive)
    encoded = text.encode()
    with _lock:
        library.handle.espeak_SetVoiceByName(voice.encode())
        library.handle.espeak_SetParameter(_PARAMETER_RATE, words_per_minute, 0)
        library.handle.espeak_SetSynthCallback(callback)
        library.handle.espeak_Synth(encoded, len(encoded) + 1, 0, _POSITION_CHARACTER, 0, _UTF8, None, None)


def speak_to_pcm(text: str, voice: str | None = None, *, words_per_minute: int = WORDS_PER_MINUTE) -> tuple[bytes, int]:
    """Return ``(pcm, sample_rate)``: the whole of ``text`` as mono int16 PCM, and its Hz."""
    parts: list[bytes] = []

    def collect(chunk: bytes) -> bool:
        parts.append(chunk)
        return True

    speak(text, collect, voice=voice or DEFAULT_VOICE, words_per_minute=words_per_minute)
    return b"".join(parts), sample_rate()
