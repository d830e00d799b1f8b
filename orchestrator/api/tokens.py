"""Room tokens for a session's user."""

from __future__ import annotations

import time

from fastapi import APIRouter, Depends, Request
from structlog.contextvars import bind_contextvars

from orchestrator.api import requests
from orchestrator.api.dependencies import CALLER, callers_only
from orchestrator.api.joins import join_of, with_token
from orchestrator.api.problems import documented
from orchestrator.api.requests import TokenBody
from orchestrator.api.schemas import TokenAnswer
from orchestrator.api.state import api_of, timely
from orchestrator.api.validation import body_of
from orchestrator.domain.errors import BodyTooLargeError, SessionEndedError, SessionNotFoundError, UnauthorizedError

router = APIRouter(tags=["sessions"])


@router.post(
    "/api/token",
    summary="A room token",
    dependencies=[Depends(callers_only)],
    responses=documented(UnauthorizedError, SessionNotFoundError, SessionEndedError, BodyTooLargeError),
    openapi_extra={**CALLER, **requests.documented(TokenBody)},
)
async def make_token(request: Request) -> TokenAnswer:
    """A token for the session's user; a reloaded page gets the same identity."""
    body = await body_of(request, TokenBody)
    bind_contextvars(session_id=body.session_id)
    container = api_of(request).container
    session = await timely(container.sessions.joinable(body.session_id))
    if session.user_id is None:  # it still waits in the pool: a start hands it out, a token does not
        raise SessionNotFoundError
    now = time.time()
    join = join_of(container, body.session_id, session.user_id, issued_at=now)
    return TokenAnswer.model_validate(with_token(container, join, body.user_name, issued_at=now))
