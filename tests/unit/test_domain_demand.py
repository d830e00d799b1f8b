"""How arrivals raise the pool's target: known situations, and what holds in all."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from contract.keys import ARRIVAL_SLOTS, DEMAND_SLOT_S
from orchestrator.domain.demand import (
    SERVICE_LEVEL,
    DemandPolicy,
    Measured,
    aim,
    needed,
    percentile_95,
    poisson_quantile,
    rate_per_s,
    slot_of,
)

NOW = 1_000_000.0
SLOT = slot_of(NOW)
MINUTE = range(SLOT - ARRIVAL_SLOTS + 1, SLOT)
EIGHT = "8.0 starts a minute, an agent taking 15 s"
POLICY = DemandPolicy(cap=25, delay_s=300)

floors = st.integers(0, 40)
caps = st.integers(0, 60)
means = st.floats(0, 80)


def measured(a_minute: int = 0, spawn_s: float | None = 15.0, peaks: dict[int, float] | None = None) -> Measured:
    """So many starts in the last minute, evenly."""
    arrivals = dict(Counter(MINUTE[i % len(MINUTE)] for i in range(a_minute)))
    return Measured(arrivals, [] if spawn_s is None else [spawn_s] * 10, peaks or {}, NOW)


# --- known situations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("floor", "seen", "target", "reason"),
    [
        pytest.param(3, measured(), 3, "floor 3; 0.0 starts a minute need no more", id="nobody came"),
        pytest.param(3, measured(20, 0.2), 3, "floor 3; 20.0 starts a minute need no more", id="0.07 of an agent"),
        pytest.param(0, measured(20, 0.2), 0, "floor 0; 20.0 starts a minute need no more", id="none set, none needed"),
        pytest.param(3, measured(8), 7, f"floor 3 + 4 for {EIGHT}", id="two on their way"),
        pytest.param(0, measured(8), 7, f"floor 0 + 7 for {EIGHT}", id="floor 0"),
        pytest.param(10, measured(8), 12, f"floor 10 + 2 for {EIGHT}", id="a floor with a margin"),
        pytest.param(
            3, measured(120), 25, "floor 3 + 22 for 120.0 starts a minute, an agent taking 15 s; POOL_CAP is 25",
            id="no more than the cap",
        ),
        pytest.param(
            30, measured(120), 30, "floor 30; 120.0 starts a minute would need more, but POOL_CAP is 25",
            id="a floor above the cap stands",
        ),
        pytest.param(3, measured(8, None), 3, "floor 3; no spawn was measured yet", id="no spawn yet"),
        pytest.param(
            3, measured(0, peaks={SLOT - 30: 2.0}), 7,
            "floor 3 + 4 for the starts of the last 300 s (now 0.0 starts a minute)", id="kept for the delay",
        ),
        pytest.param(
            3, measured(0, peaks={SLOT - 31: 2.0}), 3, "floor 3; 0.0 starts a minute need no more", id="and no longer"
        ),
    ],
)  # fmt: skip
def test_known_situations(floor: int, seen: Measured, target: int, reason: str) -> None:
    outcome = aim(floor, seen, POLICY)
    assert (outcome.target, outcome.reason) == (target, reason)


def test_the_rate_counts_a_minute_and_the_slot_that_is_not_over() -> None:
    assert rate_per_s({SLOT: 6}, NOW + 4) == pytest.approx(6 / 64)
    assert rate_per_s({SLOT - ARRIVAL_SLOTS: 50, SLOT + 1: 50}, NOW) == 0, "too old, and from a clock that went back"


def test_percentiles() -> None:
    assert percentile_95([]) is None
    assert percentile_95([3.0]) == 3.0
    assert percentile_95([float(i) for i in range(100)]) == 94.0


# --- what holds in all ---------------------------------------------------------------------------------


@given(mean=st.floats(0.01, 60), level=st.floats(0.5, 0.999))
def test_the_quantile_is_the_least_that_covers_the_level(mean: float, level: float) -> None:
    n = poisson_quantile(mean, level, 10_000)
    mass = [math.exp(k * math.log(mean) - mean - math.lgamma(k + 1)) for k in range(n + 1)]
    assert sum(mass) >= level - 1e-9
    assert sum(mass[:-1]) < level + 1e-9


@given(mean=st.floats(0, 1e6), most=st.integers(0, 300))
def test_the_quantile_stays_within_its_most_whatever_the_mean(mean: float, most: int) -> None:
    assert 0 <= poisson_quantile(mean, SERVICE_LEVEL, most) <= most


@given(floor=floors, expected=means, cap=caps)
def test_never_below_the_floor_and_never_above_the_cap(floor: int, expected: float, cap: int) -> None:
    assert floor <= needed(floor, expected, cap) <= max(floor, cap)


@given(floor=floors, fewer=means, more=means, cap=caps)
def test_more_arrivals_never_need_fewer(floor: int, fewer: float, more: float, cap: int) -> None:
    assume(fewer <= more)
    assert needed(floor, fewer, cap) <= needed(floor, more, cap)


@given(lower=floors, higher=floors, expected=means, cap=caps)
def test_a_higher_floor_never_means_fewer(lower: int, higher: int, expected: float, cap: int) -> None:
    assume(lower <= higher)
    assert needed(lower, expected, cap) <= needed(higher, expected, cap)


@given(floor=floors, expected=st.floats(0, 0.999), cap=caps)
def test_less_than_one_agent_is_none(floor: int, expected: float, cap: int) -> None:
    assert needed(floor, expected, cap) == floor


@given(floor=st.integers(0, 10), expected=st.floats(1, 20))
def test_so_many_leave_few_starts_without_one(floor: int, expected: float) -> None:
    target = needed(floor, expected, 10_000)
    found = sum(math.exp(k * math.log(expected) - expected - math.lgamma(k + 1)) for k in range(target))
    assert found >= SERVICE_LEVEL - 1e-9
    assert target - expected > floor - 1, "on the average as many as the floor says are ready"


@given(
    counts=st.lists(st.integers(0, 60), min_size=1, max_size=80),
    floor=st.integers(0, 5),
    delay_s=st.integers(0, 400),
)
def test_it_falls_only_when_the_demand_was_lower_for_the_delay(counts: list[int], floor: int, delay_s: int) -> None:
    policy = DemandPolicy(cap=50, delay_s=delay_s)
    history: list[tuple[float, int]] = []
    peaks: dict[int, float] = {}
    for step in range(len(counts)):
        now = NOW + step * DEMAND_SLOT_S + 5.0
        arrivals = {SLOT + i: counts[i] for i in range(step + 1)}
        seen = Measured(arrivals, [2.0], peaks, now)
        outcome = aim(floor, seen, policy)
        alone = needed(floor, outcome.expected, policy.cap)
        assert outcome.target >= alone
        assert all(outcome.target >= need for at, need in history if now - at <= delay_s)
        history.append((now, alone))
        lately = [need for at, need in history if now - at <= delay_s + DEMAND_SLOT_S]
        assert outcome.target <= max(lately), "and it does fall then"
        peaks[slot_of(now)] = max(peaks.get(slot_of(now), 0.0), outcome.expected)


@given(seed=st.integers(0, 1000))
def test_the_order_in_which_refills_note_does_not_matter(seed: int) -> None:
    notes = [(SLOT - random.Random(seed + i).randrange(30), i * 0.7) for i in range(12)]
    outcomes = set()
    for _ in range(3):
        random.Random(seed).shuffle(notes)
        peaks: dict[int, float] = {}
        for slot, value in notes:
            peaks[slot] = max(peaks.get(slot, 0.0), value)
        outcomes.add(aim(3, measured(peaks=peaks), POLICY).target)
        seed += 1
    assert len(outcomes) == 1


def test_without_a_delay_it_falls_at_once() -> None:
    seen = measured(peaks={SLOT - 1: 5.0})
    assert aim(3, seen, replace(POLICY, delay_s=0)).target == 3
