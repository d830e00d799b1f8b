"""By which bounds calls are measured, and what was counted of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

ANSWER_BOUNDS_S = (0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
"""Of an answer and of its parts; the alert's 800 ms is one of them."""
CALL_BOUNDS_S = (5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0)
CALL_BOUNDS_USD = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Observations = Mapping[str, float]
"""Counts and sums by ``name|kind|provider``, with ``|bound``, ``|sum`` or ``|count`` for a histogram."""


@dataclass(frozen=True)
class StoreMemory:
    """What the store uses of its memory; ``most_bytes`` is what it may use, or what its machine has."""

    used_bytes: int
    most_bytes: int


@dataclass(frozen=True)
class QueueLag:
    """One queue of the workers: how many wait, and for how long the one that came first has."""

    name: str
    length: int
    oldest_s: float
