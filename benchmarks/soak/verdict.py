"""What a run's samples come to: each series with its slope, and what it may rise by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from benchmarks.soak.samples import FOR_AN_HOUR, Sample
from benchmarks.soak.trend import Trend, trend

SHARE_AN_HOUR = 0.05
LEAST_MIB = 1.0
FILES_AN_HOUR = 6.0
"""One file in a hundred sessions left open would be three times that."""
KEYS_AN_HOUR = 60.0
"""One key left in ten sessions would be three times that."""
BY_SESSION = (*FOR_AN_HOUR, "kept of calls in Redis", "redis")
"""Kept for an hour past the call: in a shorter run there is one more for each session. And the process that holds them:
what else it holds is judged by itself."""


@dataclass(frozen=True)
class Judged:
    """One series. ``bound`` is what it may rise by in an hour; None where it has to rise."""

    what: str
    unit: str
    trend: Trend
    bound: float | None

    @property
    def held(self) -> bool:
        """Whether it is flat: the slope is within its noise, or below the bound."""
        return self.bound is None or not self.trend.grows(self.bound)


def judge(samples: Sequence[Sample]) -> list[Judged]:
    """Every series of these samples, which are those after the warm-up.

    Of memory it is the highest so far that counts: a heap that is collected falls now and then, and the way back up
    is no growth; what grows goes higher each time.

    Raises:
        ValueError: there are too few of them.
    """
    times = [sample.at_s for sample in samples]
    found = []
    for name in samples[-1].memory:
        line = trend(times, list(accumulate((sample.memory.get(name, 0.0) for sample in samples), max)))
        found.append(Judged(name, "MiB", line, _bound(name, max(LEAST_MIB, SHARE_AN_HOUR * line.level))))
    for name in samples[-1].files:
        line = trend(times, [sample.files.get(name, 0) for sample in samples])
        found.append(Judged(name, "files", line, FILES_AN_HOUR))
    for name in sorted({name for sample in samples for name in sample.keys}):
        line = trend(times, [sample.keys.get(name, 0) for sample in samples])
        found.append(Judged(name, "keys", line, _bound(name, KEYS_AN_HOUR)))
    return found


def broken(judged: Sequence[Judged]) -> dict[str, list[str]]:
    """The promises, each with what breaks it."""
    words = {"MiB": "memory is flat", "files": "no file descriptor is left open", "keys": "Redis's keys are bounded"}
    return {
        promise: [f"{each.what} rises by {each.trend.per_hour:.3g} {unit} an hour" for each in judged
                  if each.unit == unit and not each.held]
        for unit, promise in words.items()
    }  # fmt: skip


def _bound(name: str, bound: float) -> float | None:
    return None if name in BY_SESSION else bound
