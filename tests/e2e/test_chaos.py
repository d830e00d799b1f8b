"""A short run of ``make chaos``: some faults in one order, with users in the system all the while."""

from __future__ import annotations

from collections import Counter

import pytest

from benchmarks.chaos.faults import drawn
from benchmarks.chaos.run import run

SEED = 2
FAULTS = [
    "active agent killed",
    "warm agent killed",
    "api killed",
    "Redis killed",
    "Redis's connections cut",
]


@pytest.mark.alone
@pytest.mark.timeout(180)
async def test_what_users_were_promised_holds_through_faults() -> None:
    print(f"the same again, by itself: python -m benchmarks.chaos --seed {SEED} with --only for each of {FAULTS}")
    outcome = await run(SEED, drawn(SEED, None, FAULTS), say=print, every_s=3.0, aftermath_s=1.0, pool_s=60.0)

    assert outcome.broken == []
    assert outcome.traffic is not None
    came = Counter(visit.outcome for visit in outcome.traffic.visits)
    assert came["served"] >= len(FAULTS), came
    assert all(effect.touched for effect in outcome.effects), "no user was there during a fault"
