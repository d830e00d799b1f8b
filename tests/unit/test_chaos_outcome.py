"""What a chaos run says of its last fault."""

from __future__ import annotations

import pytest

from benchmarks.chaos.faults import FAULTS
from benchmarks.chaos.run import Effect, _of_last

FIRST, LAST = FAULTS["host killed"], FAULTS["beat killed"]


@pytest.mark.parametrize(("recovered_at", "pool_s", "found"), [(105.0, 4.0, []), (109.0, 4.0, ["beat killed: 13.0 s"])])
def test_the_last_fault_is_counted_from_its_end(recovered_at: float, pool_s: float, found: list[str]) -> None:
    slow = Effect(FIRST, 0, over_at=0, recovered_at=50, pool_s=5)
    last = Effect(LAST, 90, over_at=100, recovered_at=recovered_at, pool_s=pool_s)
    assert list(_of_last([slow, last], 10).values()) == [found]
