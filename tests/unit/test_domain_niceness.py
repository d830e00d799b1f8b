"""Many agents weigh no more together than a few, and those in calls more than those that wait."""

from __future__ import annotations

import pytest

from orchestrator.domain.niceness import FEW, FEW_WAITING, NICEST, STEP, group_niceness


@pytest.mark.parametrize(
    ("nice", "agents", "in_calls", "waiting"),
    [
        (5, 0, 5, 5), (5, 1, 5, 5), (5, 5, 5, 5), (5, 6, 6, 5), (5, 8, 8, 5), (5, 9, 8, 6), (5, 12, 9, 7),
        (5, 60, 17, 15), (5, 500, 19, 19), (0, 5, 0, 0), (19, 9, 19, 19),
    ],
)  # fmt: skip
def test_more_of_them_are_nicer(nice: int, agents: int, in_calls: int, waiting: int) -> None:
    assert group_niceness(nice, agents, wait=False) == in_calls
    assert group_niceness(nice, agents, wait=True) == waiting


@pytest.mark.parametrize(("wait", "few"), [(True, FEW_WAITING), (False, FEW)])
@pytest.mark.parametrize("agents", range(1, 66))
def test_all_together_weigh_no_more_than_a_few(agents: int, wait: bool, few: int) -> None:
    nice = group_niceness(5, agents, wait=wait)
    together = agents * STEP**-nice
    if nice < NICEST:
        assert together <= few * STEP**-5 * 1.0001
    if 5 < nice < NICEST:
        assert together > few * STEP**-6 * 0.9999, "and no less than they need to"
