"""Ears and a mouth that a user's own agent brought: the offline ones by another's name."""

from __future__ import annotations

from typing_extensions import override

from agent.voices.recognition import PhraseSTT
from agent.voices.speech import EspeakTTS


class Deepgram(PhraseSTT):
    """Ears."""

    @property
    @override
    def provider(self) -> str:
        return "Deepgram"


class Cartesia(EspeakTTS):
    """A mouth."""

    def __init__(self) -> None:
        super().__init__(voice=None, language="en")

    @property
    @override
    def provider(self) -> str:
        return "Cartesia"
