"""The state table, against an expectation that was written down on its own."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.states import FINAL_STATES, LIVE_STATES, SessionState
from orchestrator.domain.session import TRANSITIONS, InvalidTransitionError, is_final, public_status, transition

ALLOWED = {
    "starting ready",
    "starting ended",
    "starting failed",
    "ready assigned",
    "ready ended",
    "ready failed",
    "assigned active",
    "assigned ended",
    "assigned failed",
    "active ended",
    "active failed",
}

PAIRS = list(itertools.product(SessionState, SessionState))


@pytest.mark.parametrize(("source", "target"), PAIRS, ids=[f"{a}-{b}" for a, b in PAIRS])
def test_every_pair(source: SessionState, target: SessionState) -> None:
    if f"{source} {target}" in ALLOWED:
        assert transition(source, target) is target
        return
    with pytest.raises(InvalidTransitionError, match=f"from {source} to {target}") as raised:
        transition(source, target)
    assert (raised.value.source, raised.value.target) == (source, target)


def test_the_table_knows_every_state_and_no_other() -> None:
    assert set(TRANSITIONS) == set(SessionState)
    assert [str(state) for state in SessionState] == ["starting", "ready", "assigned", "active", "ended", "failed"]
    assert set(LIVE_STATES) | set(FINAL_STATES) == set(SessionState)
    assert not set(LIVE_STATES) & set(FINAL_STATES)


@pytest.mark.parametrize("state", SessionState)
def test_final_states_are_those_that_nothing_follows(state: SessionState) -> None:
    assert is_final(state) is (state in {"ended", "failed"})
    assert is_final(state) is (not TRANSITIONS[state])


@pytest.mark.parametrize("state", SessionState)
def test_callers_never_see_assigned(state: SessionState) -> None:
    assert public_status(state) == {"assigned": "ready"}.get(state, state)


@given(st.lists(st.sampled_from(SessionState), max_size=30))
def test_a_walk_never_leaves_a_final_state_nor_comes_back(asked: list[SessionState]) -> None:
    state, seen = SessionState.STARTING, [SessionState.STARTING]
    for target in asked:
        try:
            state = transition(state, target)
        except InvalidTransitionError:
            continue
        seen.append(state)
    assert len(seen) == len(set(seen)), "no state is entered twice"
    assert all(not is_final(earlier) for earlier in seen[:-1])
    assert SessionState.ACTIVE not in seen or SessionState.ASSIGNED in seen
    assert SessionState.ASSIGNED not in seen or SessionState.READY in seen


@given(st.sampled_from(LIVE_STATES), st.sampled_from(FINAL_STATES))
def test_every_live_state_can_end_and_fail(live: SessionState, final: SessionState) -> None:
    assert transition(live, final) is final
