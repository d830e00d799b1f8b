from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.backoff import Backoff

jitters = st.floats(0, 1, exclude_max=True)


@pytest.mark.parametrize(
    ("attempt", "ceiling_s"), [(1, 0.2), (2, 0.4), (3, 0.8), (4, 1.6), (5, 3.2), (6, 5.0), (7, 5.0), (200, 5.0)]
)
def test_the_ceiling_doubles_up_to_the_cap(attempt: int, ceiling_s: float) -> None:
    backoff = Backoff(tries=1000)
    assert backoff.delay_s(attempt, 0.0) == 0.0
    assert backoff.delay_s(attempt, 0.5) == pytest.approx(ceiling_s / 2)


@pytest.mark.parametrize(("attempt", "left"), [(1, True), (2, True), (3, False), (4, False)])
def test_three_tries_by_default(attempt: int, left: bool) -> None:
    assert (Backoff().delay_s(attempt, 0.5) is not None) is left


@given(
    st.floats(0.001, 10), st.floats(0.001, 100), st.integers(1, 20), st.integers(1, 20), jitters
)  # fmt: skip
def test_a_delay_is_within_its_bounds_and_none_means_no_try_left(
    base_s: float, cap_s: float, tries: int, attempt: int, jitter: float
) -> None:
    delay_s = Backoff(base_s, cap_s, tries).delay_s(attempt, jitter)
    if attempt >= tries:
        assert delay_s is None
        return
    assert delay_s is not None
    assert 0 <= delay_s <= min(cap_s, base_s * 2 ** (attempt - 1))
