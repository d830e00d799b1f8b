"""How large the pool should be: its floor, and what the arrivals need beyond it. Pure policy.

Starts arrive at some rate, and each agent that is taken is replaced within the time that a spawn may wait and takes. So
by Little's law (``L = λW``: J. D. C. Little, Operations Research 9(3), 1961) ``expected = rate x (wait + spawn p95)``
agents are on their way at any moment; they count towards the target and cannot be handed out. Their number is a Poisson
one whatever the spawn times' distribution (Palm's theorem; S. Axsäter, *Inventory Control*, base-stock policy), and
arrivals see it as it is at any moment (PASTA: R. W. Wolff, Operations Research 30(2), 1982). A start finds a warm agent
if fewer are on their way than the target. So the target is the larger one of

* ``floor + ⌊expected⌋``: so that about as many as the floor says are ready, and not on their way;
* ``1 + n``, the least with ``P(Poisson(expected) <= n) >= 0.99``: so that 99 of 100 starts find one ready.

While ``expected`` is less than one whole agent, it is the floor alone: with agents that are there in 0.2 s, twenty
starts a minute come to 0.07, which is no reason to keep another one.

The scale-down delay is a sliding maximum: the target follows the highest ``expected`` of so many seconds. Each moment's
is noted in a slot of the store, and a slot only grows, so it does not matter who notes what in which order.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from contract.keys import ARRIVAL_SLOTS, DEMAND_SLOT_S

SERVICE_LEVEL = 0.99
"""Share of the starts that should find an agent ready."""


@dataclass(frozen=True)
class DemandPolicy:
    """The policy's settings."""

    cap: int
    """The demand raises the target to so many at most; a floor above it stands. 0: it never does."""
    delay_s: float = 300.0
    """The target falls when the demand has been lower for so long."""
    yields_s: float = 0.0
    """So long, at most, an empty place waits before its spawn begins."""


@dataclass(frozen=True)
class Measured:
    """What was measured, read atomically. Slots are numbered: ``seconds // DEMAND_SLOT_S`` by the store's clock."""

    arrivals: Mapping[int, int]
    """Starts by slot."""
    spawns_s: Sequence[float]
    """How long the newest spawns took."""
    peaks: Mapping[int, float]
    """The highest ``expected`` that was noted, by slot."""
    now: float


@dataclass(frozen=True)
class Aim:
    """How many agents should wait, and why."""

    floor: int
    target: int
    rate_per_s: float
    spawn_p95_s: float | None
    """None before any spawn was measured."""
    expected: float
    """Agents that are on their way at any moment, at this rate."""
    reason: str


def slot_of(now: float) -> int:
    """The slot of this moment."""
    return math.floor(now / DEMAND_SLOT_S)


def rate_per_s(arrivals: Mapping[int, int], now: float) -> float:
    """Starts a second, over the last minute's whole slots and the one that is not over."""
    newest = slot_of(now)
    oldest = newest - ARRIVAL_SLOTS + 1
    count = sum(number for slot, number in arrivals.items() if oldest <= slot <= newest)
    return count / (now - oldest * DEMAND_SLOT_S)


def percentile_95(values: Sequence[float]) -> float | None:
    """The nearest-rank percentile; None of nothing."""
    if not values:
        return None
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def poisson_quantile(mean: float, level: float, most: int) -> int:
    """The least ``n`` with ``P(Poisson(mean) <= n) >= level``, or ``most`` where it is more than that."""
    if mean <= 0:
        return 0
    if mean > most + 1:  # the median is more than the mean less ln 2 already
        return most
    below = 0.0
    for n in range(most):
        below += math.exp(n * math.log(mean) - mean - math.lgamma(n + 1))
        if below >= level:
            return n
    return most


def needed(floor: int, expected: float, cap: int) -> int:
    """The target for so many agents on their way; never below the floor, and above it never above the cap."""
    if expected < 1 or cap <= floor:
        return floor
    for_all_but_few = 1 + poisson_quantile(expected, SERVICE_LEVEL, cap)
    return min(cap, max(floor + int(min(expected, cap)), for_all_but_few))


def peak(measured: Measured, expected: float, delay_s: float) -> float:
    """The highest ``expected`` of the last ``delay_s`` seconds, this one included."""
    newest = slot_of(measured.now)
    # A slot's note may be as young as its end.
    oldest = measured.now - delay_s
    noted = (value for slot, value in measured.peaks.items() if (slot + 1) * DEMAND_SLOT_S > oldest and slot <= newest)
    return max(expected, *noted, 0.0)


def aim(floor: int, measured: Measured, policy: DemandPolicy, most: int | None = None) -> Aim:
    """How many agents should wait now; never more than ``most``."""
    if most is not None:
        floor, policy = min(floor, most), replace(policy, cap=min(policy.cap, most))
    rate = rate_per_s(measured.arrivals, measured.now)
    spawn_s = percentile_95(measured.spawns_s)
    expected = 0.0 if spawn_s is None else rate * (spawn_s + policy.yields_s)
    highest = peak(measured, expected, policy.delay_s)
    target = needed(floor, highest, policy.cap)
    starts = f"{rate * 60:.1f} starts a minute"
    if target == floor:
        why = _why_no_more(starts, rate, spawn_s, too_many=needed(floor, highest, floor + 1) > floor, cap=policy.cap)
        return Aim(floor, target, rate, spawn_s, expected, f"floor {floor}; {why}")
    if needed(floor, expected, policy.cap) < target:
        why = f"the starts of the last {policy.delay_s:.0f} s (now {starts})"
    else:
        why = f"{starts}, an agent taking {spawn_s or 0:.2g} s"
    if needed(floor, highest, policy.cap + 1) > target:
        why += f"; POOL_CAP is {policy.cap}"
    return Aim(floor, target, rate, spawn_s, expected, f"floor {floor} + {target - floor} for {why}")


def _why_no_more(starts: str, rate: float, spawn_s: float | None, *, too_many: bool, cap: int) -> str:
    if too_many:
        return f"{starts} would need more, but POOL_CAP is {cap}"
    if rate > 0 and spawn_s is None:
        return "no spawn was measured yet"
    return f"{starts} need no more"
