"""Many agents weigh no more together than a few: what they all need has to run."""

from __future__ import annotations

import pytest

from orchestrator.domain.niceness import FEW, NICEST, STEP, group_niceness


@pytest.mark.parametrize(
    ("nice", "agents", "seen"),
    [(5, 0, 5), (5, 1, 5), (5, 8, 5), (5, 9, 6), (5, 30, 11), (5, 72, 15), (5, 500, 19), (0, 8, 0), (19, 9, 19)],
)
def test_more_of_them_are_nicer(nice: int, agents: int, seen: int) -> None:
    assert group_niceness(nice, agents) == seen


@pytest.mark.parametrize("agents", range(1, 130))
def test_all_together_weigh_no_more_than_a_few(agents: int) -> None:
    nice = group_niceness(5, agents)
    together = agents * STEP**-nice
    assert together <= FEW * STEP**-5 * 1.0001
    if 5 < nice < NICEST:
        assert together > FEW * STEP**-6 * 0.9999, "and no less than they need to"
