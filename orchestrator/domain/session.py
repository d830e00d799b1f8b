"""A session's states and the moves between them: one table, no I/O, no clock.

::

    starting ──▶ ready ──▶ assigned ──▶ active ──▶ ended
        └──────────┴───────────┴──────────┴──────▶ failed     (ended, too, from each of the four)

``ready`` belongs to nobody; a *claim* makes it ``assigned`` and gives it a fencing number. The user's first
join makes it ``active``. It stays so for its caller while an agent that died is replaced: the session is the same, only
its agent is another one. ``ended`` and ``failed`` are final. The Redis scripts are given this very table, so a
move that is not in it cannot happen there either.
"""

from contract.states import FINAL_STATES, SessionState

_S = SessionState

TRANSITIONS: dict[SessionState, frozenset[SessionState]] = {
    _S.STARTING: frozenset({_S.READY, _S.ENDED, _S.FAILED}),
    _S.READY: frozenset({_S.ASSIGNED, _S.ENDED, _S.FAILED}),
    _S.ASSIGNED: frozenset({_S.ACTIVE, _S.ENDED, _S.FAILED}),
    _S.ACTIVE: frozenset({_S.ENDED, _S.FAILED}),
    _S.ENDED: frozenset(),
    _S.FAILED: frozenset(),
}


class InvalidTransitionError(Exception):
    """A session was asked to make a move that its table does not have."""

    def __init__(self, source: SessionState, target: SessionState) -> None:
        super().__init__(f"a session cannot go from {source} to {target}")
        self.source = source
        self.target = target


def transition(source: SessionState, target: SessionState) -> SessionState:
    """The state after the move.

    Raises:
        InvalidTransitionError: the table does not have it.
    """
    if target not in TRANSITIONS[source]:
        raise InvalidTransitionError(source, target)
    return target


def is_final(state: SessionState) -> bool:
    """Whether nothing follows."""
    return state in FINAL_STATES


IN_CALL = (_S.ASSIGNED, _S.ACTIVE)
"""It belongs to a user, and its agent was in its room."""


def public_status(state: SessionState) -> str:
    """The state as callers see it: an assigned session is ``ready`` until its user is there."""
    return "ready" if state is _S.ASSIGNED else str(state)
