"""How a session went: its turns, its life, and what its user's page measured."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response

from contract.messages import Turn
from contract.states import SessionState
from orchestrator.api import requests
from orchestrator.api.dependencies import ADMIN, CALLER, SessionId, admin_only, callers_only
from orchestrator.api.problems import documented
from orchestrator.api.requests import TimelineBody
from orchestrator.api.schemas_console import Click, LifeAnswer, LifeEvent, LifeTurn, TurnsAnswer, TurnText
from orchestrator.api.sessions import session_error
from orchestrator.api.state import api_of, timely
from orchestrator.api.validation import FieldError, InvalidFieldsError, body_of
from orchestrator.domain.errors import BodyTooLargeError, ForbiddenError, SessionNotFoundError, UnauthorizedError
from orchestrator.records import Session

router = APIRouter()


@router.get(
    "/api/session/{sessionId}/turns",
    summary="What was said",
    tags=["sessions"],
    dependencies=[Depends(callers_only)],
    responses=documented(UnauthorizedError, SessionNotFoundError),
    openapi_extra=CALLER,
)
async def session_turns(request: Request, session_id: SessionId) -> TurnsAnswer:
    """The finished turns of both sides, for a page that was loaded again."""
    _, turns = await timely(api_of(request).container.sessions.life(session_id))
    return TurnsAnswer(session_id=session_id, turns=[_text_of(turn) for turn in turns])


@router.post(
    "/api/session/{sessionId}/timeline",
    summary="What the user's page measured",
    tags=["sessions"],
    status_code=204,
    dependencies=[Depends(callers_only)],
    responses=documented(UnauthorizedError, SessionNotFoundError, BodyTooLargeError),
    openapi_extra={**CALLER, **requests.documented(TimelineBody)},
)
async def keep_timeline(request: Request, session_id: SessionId) -> Response:
    """From the click to the first sound. The first one of a session counts; another changes nothing."""
    body = await body_of(request, TimelineBody)
    marks = body.marks.in_order()
    _check_order(marks)
    api = api_of(request)
    if await timely(api.container.store.keep_timeline(session_id, marks)):
        api.metrics.clicked(list(marks.items()))
    return Response(status_code=204)


@router.get(
    "/api/session/{sessionId}/life",
    summary="One session's life",
    tags=["admin"],
    dependencies=[Depends(admin_only)],
    responses=documented(UnauthorizedError, ForbiddenError, SessionNotFoundError),
    openapi_extra=ADMIN,
)
async def session_life(request: Request, session_id: SessionId) -> LifeAnswer:
    """What happened, in its order; the turns without what was said."""
    session, turns = await timely(api_of(request).container.sessions.life(session_id))
    return LifeAnswer(
        session_id=session_id,
        events=_happened(session),
        turns=[_without_text(turn) for turn in turns],
        click=None if session.marks is None else Click(marks=dict(session.marks)),
        end_reason=session.end_reason,
        error=session_error(session, for_admin=True),
    )


def _check_order(marks: dict[str, float]) -> None:
    """See that no mark is before the one that it follows.

    Raises:
        InvalidFieldsError: one is.
    """
    before, least = "", 0.0
    for name, value in marks.items():
        if value < least:
            message = f"should be {least:g} at least, as {before} is: marks follow each other"
            raise InvalidFieldsError([FieldError(f"marks.{name}", message)])
        before, least = name, value


def _happened(session: Session) -> list[LifeEvent]:
    over = "failed" if session.state is SessionState.FAILED else "ended"
    moments = {
        "created": session.created_at,
        "ready": session.ready_at,
        "assigned": session.assigned_at,
        "token": session.token_at,
        "joined": session.active_at,
        "left": session.user_left_at,
        over: session.ended_at,
    }
    events = [LifeEvent.model_validate({"name": name, "at": at}) for name, at in moments.items() if at is not None]
    return sorted(events, key=lambda event: event.at)


def _text_of(turn: Turn) -> TurnText:
    return TurnText(
        role=turn.role, text=turn.text, at=turn.at, interrupted=turn.interrupted, latency_ms=_latency_ms(turn)
    )


def _without_text(turn: Turn) -> LifeTurn:
    return LifeTurn(
        role=turn.role,
        at=turn.at,
        latency_ms=_latency_ms(turn),
        interrupted=turn.interrupted,
        characters=len(turn.text),
    )


def _latency_ms(turn: Turn) -> float | None:
    return None if turn.latency_s is None else round(turn.latency_s * 1000, 1)
