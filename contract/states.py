"""The states a session can be in, as Redis, the host and the API name them."""

from enum import StrEnum


class SessionState(StrEnum):
    """Where a session is in its life. The allowed moves are in ``orchestrator.domain.session``."""

    STARTING = "starting"
    """Reserved; its agent is not in its room yet (or it waits for capacity)."""
    READY = "ready"
    """Its agent is in its room and belongs to nobody: it is in ``pool:ready``, or about to be assigned."""
    ASSIGNED = "assigned"
    """It belongs to a user who has not joined yet. The API shows it as ``ready``."""
    ACTIVE = "active"
    """Its user has been in the room."""
    ENDED = "ended"
    """Over, as it should be."""
    FAILED = "failed"
    """Over, because something broke; ``error`` says what."""


LIVE_STATES = (SessionState.STARTING, SessionState.READY, SessionState.ASSIGNED, SessionState.ACTIVE)
FINAL_STATES = (SessionState.ENDED, SessionState.FAILED)
