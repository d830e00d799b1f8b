"""The spawn breaker's state machine: known situations, and what it promises in all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.breaker import Breaker, BreakerPolicy, Phase

POLICY = BreakerPolicy(failures=3, base_s=2, cap_s=10)
NOW = 1000.0


def after(*failures: float, code: str = "agent_died") -> Breaker:
    """A breaker that met failures at these moments."""
    breaker = Breaker()
    for at in failures:
        breaker = breaker.failed(POLICY, at, 0.0, code, "it died")
    return breaker


def test_it_opens_at_the_threshold_and_says_why() -> None:
    assert after(1, 2).phase(NOW) is Phase.CLOSED
    breaker = after(1, 2, 3)
    assert breaker == Breaker(opened=1, since=3, open_until=4, code="agent_died", reason="it died")
    assert [breaker.phase(now) for now in (3, 3.9, 4, 1e9)] == [
        Phase.OPEN,
        Phase.OPEN,
        Phase.HALF_OPEN,
        Phase.HALF_OPEN,
    ]


def test_a_success_between_failures_counts_them_anew() -> None:
    assert after(1, 2).succeeded().failed(POLICY, 3, 0.0, "x", "y").failures == 1


def test_a_failure_of_what_was_begun_before_it_opened_changes_nothing() -> None:
    breaker = after(1, 2, 3)
    assert breaker.failed(POLICY, 3.5, 0.0, "other", "other") is breaker


def test_a_try_that_fails_opens_it_for_twice_as_long() -> None:
    breaker, at = after(1, 2, 3), 4.0
    for open_s in (2, 4, 5, 5):
        breaker = breaker.failed(POLICY, at, 0.0, "again", "it died again")
        assert breaker.open_until - at == open_s
        at = breaker.open_until
    assert (breaker.opened, breaker.since, breaker.reason) == (5, 3, "it died again")


@pytest.mark.parametrize("code", ["host_unavailable", "host_draining", "host_retiring"])
def test_a_host_that_restarts_or_drains_is_no_reason(code: str) -> None:
    assert after(*range(99), code=code) == Breaker()
    half_open = replace(after(1, 2, 3), open_until=10)
    assert half_open.failed(POLICY, 20, 0.0, code, "away") is half_open


jitters = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 10_000), jitters)
def test_how_long_it_is_open_is_bounded(opened: int, jitter: float) -> None:
    longest = min(10.0, 2.0 * 2 ** min(opened - 1, 32))
    assert longest / 2 <= POLICY.open_s(opened, jitter) <= longest


@given(st.lists(st.tuples(st.floats(0, 30), jitters, st.booleans()), max_size=60), st.integers(1, 6))
def test_nothing_is_begun_while_it_is_open_and_it_always_recovers(
    steps: list[tuple[float, float, bool]], failures: int
) -> None:
    """Time passes, a spawn is begun if it may be, and it succeeds or fails."""
    policy, breaker, now = BreakerPolicy(failures, 2, 10), Breaker(), 0.0
    in_a_row = 0
    for pause_s, jitter, succeeds in steps:
        now += pause_s
        if breaker.phase(now) is Phase.OPEN:
            assert in_a_row >= failures
            assert breaker.open_until <= now + policy.cap_s
            continue
        in_a_row = 0 if succeeds else in_a_row + 1
        before = breaker.phase(now)
        breaker = breaker.succeeded() if succeeds else breaker.failed(policy, now, jitter, "x", "y")
        if succeeds:
            assert breaker == Breaker()
        elif before is Phase.HALF_OPEN or in_a_row >= failures:
            assert breaker.phase(now) is Phase.OPEN
    now += policy.cap_s
    assert breaker.phase(now) is not Phase.OPEN, "a try is always made in the end"
    assert breaker.succeeded().phase(now) is Phase.CLOSED
