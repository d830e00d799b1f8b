"""One session after its start, and the admin's list of them."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from contract.keys import KIND_PATTERN
from contract.states import SessionState
from orchestrator.api.dependencies import ADMIN, CALLER, SessionId, admin_only, callers_only
from orchestrator.api.problems import documented
from orchestrator.api.schemas import EndedAnswer, LogsAnswer, PublicStatus, SessionAnswer, SessionRecord, SessionsAnswer
from orchestrator.api.state import Api, api_of, timely
from orchestrator.domain.errors import (
    ForbiddenError,
    HostUnavailableError,
    InvalidRequestError,
    SessionNotFoundError,
    UnauthorizedError,
)
from orchestrator.domain.session import public_status
from orchestrator.records import Search, Session

router = APIRouter(tags=["sessions"])

SHORTEST_ID_START = 4
QUERY = "The beginning of a session's id, 4 characters at least, or a user's id. A page may be short and not the last."
OF_KIND = "Only those of this kind of agent. A page may be short and not the last."

STATES: dict[str, tuple[SessionState, ...]] = {
    "starting": (SessionState.STARTING,),
    "ready": (SessionState.READY, SessionState.ASSIGNED),
    "active": (SessionState.ACTIVE,),
    "ended": (SessionState.ENDED,),
    "failed": (SessionState.FAILED,),
}


@router.get(
    "/api/session/{sessionId}",
    summary="Look at a session",
    dependencies=[Depends(callers_only)],
    responses=documented(UnauthorizedError, SessionNotFoundError),
    openapi_extra=CALLER,
)
async def get_session(request: Request, session_id: SessionId) -> SessionAnswer:
    """The session. Asking keeps a waiting caller's place in the queue."""
    api = api_of(request)
    session = await timely(api.container.sessions.get(session_id))
    return await timely(session_answer(api, session, for_admin=api.security.is_admin(request.headers)))


@router.delete(
    "/api/session/{sessionId}",
    summary="End a session",
    dependencies=[Depends(callers_only)],
    responses=documented(UnauthorizedError, SessionNotFoundError),
    openapi_extra=CALLER,
)
async def end_session(request: Request, session_id: SessionId) -> EndedAnswer:
    """End it; the second time changes nothing."""
    api = api_of(request)
    who = "the operator" if api.security.is_admin(request.headers) else "its caller"
    done = await timely(api.container.sessions.end(session_id, f"ended by {who}"))
    failed = not done.changed and done.previous is SessionState.FAILED
    return EndedAnswer(session_id=session_id, status="failed" if failed else "ended", changed=done.changed)


@router.get(
    "/api/session/{sessionId}/logs",
    summary="The newest lines of a session's agent",
    tags=["admin"],
    dependencies=[Depends(admin_only)],
    responses=documented(UnauthorizedError, ForbiddenError, SessionNotFoundError, HostUnavailableError),
    openapi_extra=ADMIN,
)
async def session_logs(
    request: Request, session_id: SessionId, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> LogsAnswer:
    """Oldest first."""
    lines = await timely(api_of(request).container.sessions.logs(session_id, limit))
    return LogsAnswer(session_id=session_id, lines=[dict(line) for line in lines])


@router.get(
    "/api/sessions",
    summary="A page of sessions",
    tags=["admin"],
    dependencies=[Depends(admin_only)],
    responses=documented(UnauthorizedError, ForbiddenError),
    openapi_extra=ADMIN,
)
async def list_sessions(
    request: Request,
    status: PublicStatus | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=512)] = None,
    q: Annotated[str | None, Query(max_length=128, description=QUERY)] = None,
    agent: Annotated[str | None, Query(pattern=KIND_PATTERN, description=OF_KIND)] = None,
) -> SessionsAnswer:
    """The living first, state by state; the newest first."""
    states = STATES[status] if status else tuple(state for states in STATES.values() for state in states)
    container = api_of(request).container
    if q or agent:
        search = Search(q if q and len(q) >= SHORTEST_ID_START else None, user_id=q or "", kind=agent)
        page = await timely(container.lookup.find(states, search, limit, _decoded(cursor)))
    else:
        page = await timely(container.store.page(states, limit, _decoded(cursor)))
    sessions = [_record(session, for_admin=True) for session in page.sessions]
    return SessionsAnswer(sessions=sessions, cursor=_encoded(page.cursor))


async def session_answer(api: Api, session: Session, *, for_admin: bool) -> SessionAnswer:
    """The session as its caller sees it, with the time that it will still take to start.

    Raises:
        StoreUnavailableError: Redis is away.
    """
    wait_s = None
    if session.state is SessionState.STARTING and session.queue_position is not None:
        position, place = session.queue_position, session.waiting_place
        wait_s = await api.container.waits.estimate_s(position, place, session.kind)
    record = _record(session, for_admin=for_admin, wait_s=wait_s)
    return SessionAnswer(**dict(record))


FAILURES = {
    "spawn_failed": "no agent could be started",
    "agent_died": "the agent ended unexpectedly",
    "agent_unresponsive": "the agent did not answer",
    "host_lost": "the agent's machine was lost",
}
"""What callers are told of each code."""


def _record(session: Session, *, for_admin: bool, wait_s: float | None = None) -> SessionRecord:
    status: PublicStatus = public_status(session.state)  # type: ignore[assignment] # its values are these
    return SessionRecord(
        session_id=session.session_id,
        status=status,
        agent=session.kind,
        user_id=session.user_id,
        # Also while it still waits in the pool, where its record does not say so yet.
        prewarmed=session.prewarmed or session.session_id.startswith("prewarm_"),
        created_at=session.created_at,
        startup_time=session.startup_s,
        replacements=session.replacements,
        assigned_at=session.assigned_at,
        ended_at=session.ended_at,
        end_reason=session.end_reason if for_admin or session.error is None else None,
        queue_position=session.queue_position,
        estimated_wait_ms=None if wait_s is None else round(wait_s * 1000),
        error=session_error(session, for_admin=for_admin),
        host=session.host if for_admin else None,
        agent_pid=session.agent_pid if for_admin else None,
    )


def session_error(session: Session, *, for_admin: bool) -> str | None:
    """Why it failed. What an agent's own code said may name files or keys: that is for the admin only."""
    if session.error is None:
        return None
    code = session.error_code or "internal_error"
    return f"{code}: {session.error if for_admin else FAILURES.get(code, 'something went wrong')}"


def _encoded(cursor: str | None) -> str | None:
    """Opaque, and safe in an address."""
    return cursor and base64.urlsafe_b64encode(cursor.encode()).decode().rstrip("=")


def _decoded(cursor: str | None) -> str | None:
    if not cursor:
        return None
    try:
        return base64.b64decode(cursor + "=" * (-len(cursor) % 4), b"-_", validate=True).decode()
    except (binascii.Error, ValueError):
        raise InvalidRequestError("cursor: use the one that the page before gave") from None
