"""What an agent measures of its call, and by which few names: they become labels, so there is no other."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Provider = Literal["assemblyai", "groq", "inworld", "offline", "other"]
"""``other`` is whatever else a user's own agent brought."""
Timed = Literal["latency", "stt", "llm", "tts"]
Unit = Literal["stt_seconds", "llm_input_tokens", "llm_output_tokens", "tts_characters"]
"""What providers charge for."""
Count = Annotated[int, Field(ge=0, le=1_000)]
"""Of one report."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Timing(_Part):
    """How long one part of an answer took.

    ``latency``: from the end of the user's speech to the answer's first sound; ``stt``: to the words that were said;
    ``llm``: from the question to the answer's first word; ``tts``: from that to its first sound.
    """

    of: Timed
    provider: Provider
    """``other`` for the latency, which is all of theirs."""
    seconds: float = Field(ge=0, le=3_600)


class Used(_Part):
    """What was used since the report before."""

    unit: Unit
    provider: Provider
    amount: float = Field(ge=0, le=1e9)
