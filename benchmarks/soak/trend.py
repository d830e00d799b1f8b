"""How a figure moves over a run: its slope, how sure that is, and whether it counts as growth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

HOUR_S = 3600.0
CONFIDENCE = 1.96
"""Standard deviations on each side: 95 %."""
FEWEST = 4
"""With fewer points nothing can be said."""


@dataclass(frozen=True)
class Trend:
    """The slope of a series by Theil and Sen, and the ends of its interval, each per hour."""

    per_hour: float
    low: float
    high: float
    level: float
    """The series' median."""

    def grows(self, bound: float) -> bool:
        """Whether it rises by more than ``bound`` an hour, and that is not its noise."""
        return self.low > 0 and self.per_hour > bound


def trend(times_s: Sequence[float], values: Sequence[float]) -> Trend:
    """The median slope of all pairs of points, which a few odd points do not move.

    The interval is Sen's: of the sorted slopes, those as far from the middle as Kendall's test allows.

    Raises:
        ValueError: there are fewer than four points.
    """
    count = len(values)
    if count < FEWEST:
        raise ValueError(f"a slope needs {FEWEST} points at least, not {count}")
    pairs = combinations(zip(times_s, values, strict=True), 2)
    slopes = sorted((later - earlier) / (t2 - t1) * HOUR_S for (t1, earlier), (t2, later) in pairs if t2 > t1)
    spread = CONFIDENCE * math.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    low = max(0, math.floor((len(slopes) - spread) / 2))
    high = min(len(slopes) - 1, math.ceil((len(slopes) + spread) / 2))
    return Trend(median(slopes), slopes[low], slopes[high], median(values))
