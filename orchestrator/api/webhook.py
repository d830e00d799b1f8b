"""LiveKit's webhooks: joins, leaves and closed rooms move sessions at once."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from functools import partial

from fastapi import APIRouter, Request, Response
from structlog.contextvars import bind_contextvars

from contract.messages import SESSION_ID_PATTERN
from orchestrator.adapters.livekit_rooms import RoomEvent
from orchestrator.api.middleware import WEBHOOK_PATH
from orchestrator.api.problems import documented
from orchestrator.api.state import api_of, timely
from orchestrator.domain.errors import BodyTooLargeError, RoomsUnavailableError, UnauthorizedError
from orchestrator.ports import Webhooks
from orchestrator.services.sessions import Sessions

router = APIRouter(tags=["livekit"])

OURS = re.compile(SESSION_ID_PATTERN)
"""A LiveKit project may have other rooms than Greenroom's."""

Move = Callable[[str], Awaitable[None]]


@router.post(
    WEBHOOK_PATH,
    summary="LiveKit's webhooks",
    status_code=204,
    responses=documented(UnauthorizedError, BodyTooLargeError, RoomsUnavailableError),
    openapi_extra={
        "security": [{"livekitSignature": []}],
        "requestBody": {"content": {"application/webhook+json": {"schema": {"type": "object"}}}},
    },
)
async def livekit_webhook(request: Request) -> Response:
    """Signed with LiveKit's key; unknown rooms and other events are ignored."""
    container = api_of(request).container
    event = container.webhooks.read(await _text(request), request.headers.get("authorization", ""))
    if OURS.match(event.room):
        bind_contextvars(session_id=event.room)
        move = _move(container.sessions, event)
        if move is not None:
            await timely(_once(container.events, event, move))
    return Response(status_code=204)


async def _once(events: Webhooks, event: RoomEvent, move: Move) -> None:
    """Act on it unless that was done. Noted afterwards: what failed is to be done when LiveKit sends it again."""
    if event.id and not await events.is_new(event.id):
        return
    await move(event.room)
    if event.id:
        await events.acted_on(event.id)


def _move(sessions: Sessions, event: RoomEvent) -> Move | None:
    match event.kind:
        case "participant_joined" if event.is_user:
            return sessions.user_joined
        case "participant_left" if event.is_user:
            return sessions.user_left
        case "room_finished":
            return partial(sessions.room_closed, sid=event.room_sid)
    return None


async def _text(request: Request) -> str:
    try:
        return (await request.body()).decode()
    except UnicodeDecodeError:
        raise UnauthorizedError("the webhook's signature is not LiveKit's") from None
