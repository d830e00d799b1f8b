"""What a caller says: sentences spoken by espeak-ng, and WAV files. All of it mono int16 PCM."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speech import espeak

_BYTES = 2


class WavError(Exception):
    """It is not a WAV file with PCM, or it cannot be read."""


@dataclass(frozen=True)
class Pcm:
    """Mono int16 samples."""

    data: bytes
    sample_rate: int

    @property
    def seconds(self) -> float:
        """How long it takes to say it."""
        return len(self.data) / _BYTES / self.sample_rate


def spoken(text: str, *, language: str | None = None) -> Pcm:
    """A sentence, spoken."""
    return Pcm(*espeak.speak_to_pcm(text, espeak.choose_voice(None, language)))


def read_wav(path: Path) -> Pcm:
    """The sound in a WAV file; its channels are mixed, and its samples made 16 bits wide.

    Raises:
        WavError: the file cannot be read, or is no WAV file with PCM.
    """
    try:
        with wave.open(str(path), "rb") as file:
            width, channels, rate = file.getsampwidth(), file.getnchannels(), file.getframerate()
            raw = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        raise WavError(f"{path} is no WAV file with PCM ({error or 'it is cut off'})") from error
    except OSError as error:
        raise WavError(f"{path} cannot be read: {error.strerror}") from error
    whole = len(raw) - len(raw) % (width * channels)
    if not whole:
        raise WavError(f"{path} has no sound in it")
    samples = _as_int16(raw[:whole], width).reshape(-1, channels)
    return Pcm(samples.mean(axis=1).astype(np.int16).tobytes(), rate)


def _as_int16(raw: bytes, width: int) -> np.ndarray:
    if width == 1:  # the only width that has no sign
        return (np.frombuffer(raw, np.uint8).astype(np.int16) - 128) * 256
    by_sample = np.frombuffer(raw, np.uint8).reshape(-1, width)
    return np.ascontiguousarray(by_sample[:, -_BYTES:]).view("<i2").reshape(-1)


def write_wav(path: Path, pcm: Pcm) -> None:
    """Save it as a WAV file.

    Raises:
        WavError: the file cannot be written.
    """
    try:
        with path.open("wb") as raw, wave.open(raw, "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(_BYTES)
            file.setframerate(pcm.sample_rate)
            file.writeframes(pcm.data)
    except OSError as error:
        raise WavError(f"{path} cannot be written: {error.strerror}") from error
