"""What routes depend on: who is asking, and a session id that is one."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Path, Request
from structlog.contextvars import bind_contextvars

from contract.messages import SESSION_ID_PATTERN
from orchestrator.api.state import api_of

CALLER: dict[str, Any] = {"security": [{}, {"apiKey": []}, {"bearer": []}]}
"""For the OpenAPI document. Nothing needs to be presented while no ``API_KEYS`` or ``JWT_*`` are set."""
ADMIN: dict[str, Any] = {"security": [{"adminToken": []}]}
MAYBE_ADMIN: dict[str, Any] = {"security": [{}, {"adminToken": []}]}
"""Anybody may; the admin is told more."""


async def admin_only(request: Request) -> None:
    """Let only the admin pass.

    Raises:
        ForbiddenError: no ``ADMIN_TOKEN`` is set.
        UnauthorizedError: it was not presented, or another one was.
    """
    api_of(request).security.require_admin(request.headers)


async def callers_only(request: Request) -> None:
    """Let callers pass.

    Raises:
        UnauthorizedError: callers must present an API key or a JWT, and this one did not.
    """
    await api_of(request).security.caller(request.headers)


async def _session_id(
    session_id: Annotated[
        str, Path(alias="sessionId", pattern=SESSION_ID_PATTERN, description="As the start answered it.")
    ],
) -> str:
    bind_contextvars(session_id=session_id)
    return session_id


SessionId = Annotated[str, Depends(_session_id)]
