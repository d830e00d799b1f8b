"""A session as it changes, as server-sent events."""

from __future__ import annotations

from time import monotonic
from typing import Any

from fastapi import APIRouter, Depends, Request, Response

from contract.states import SessionState
from orchestrator.api.dependencies import CALLER, SessionId, callers_only
from orchestrator.api.problems import documented
from orchestrator.api.sessions import session_answer
from orchestrator.api.state import Api, api_of, timely
from orchestrator.api.streams import Events, event
from orchestrator.domain.errors import (
    SessionNotFoundError,
    StoreUnavailableError,
    TooManyStreamsError,
    UnauthorizedError,
)
from orchestrator.domain.session import is_final
from orchestrator.records import Session

router = APIRouter(tags=["sessions"])

LOOK_STARTING_S = 1.0
"""A place in the queue moves with others', of which there is no notice."""
LOOK_S = 5.0
"""Notices get lost."""
LOST_S = 10.0
"""Without its record for so long, the session is gone: hosts write those of their agents anew within seconds."""

EXAMPLE = 'retry: 2000\n\nevent: session\ndata: {"sessionId": "session_1763…", "status": "starting", …}\n\n'
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events named `session`, each with a `SessionAnswer`: one at once, one for each change, the"
        " last one `ended` or `failed`. A comment every ten seconds when there is none.",
        "content": {"text/event-stream": {"schema": {"type": "string"}, "example": EXAMPLE}},
    }
}


@router.get(
    "/api/session/{sessionId}/events",
    summary="Follow a session",
    dependencies=[Depends(callers_only)],
    response_class=Response,
    responses={**documented(UnauthorizedError, SessionNotFoundError, TooManyStreamsError), **STREAM},
    openapi_extra=CALLER,
)
async def follow_session(request: Request, session_id: SessionId) -> Response:
    """The session as server-sent events. Following keeps a waiting caller's place in the queue."""
    api = api_of(request)
    for_admin = api.security.is_admin(request.headers)
    with api.streams.take_admin() if for_admin else api.streams.take(session_id) as place:
        session = await timely(api.container.sessions.get(session_id))
        follower = _Follower(api, session, for_admin=for_admin)
        return api.streams.response(_events(api, follower, await timely(follower.news())), place)


async def _events(api: Api, follower: _Follower, first: bytes) -> Events:
    with api.container.changes.listen(follower.session.session_id) as listener:
        yield first
        while not follower.over:
            await listener.wait(follower.look_in_s)
            yield await follower.look()


class _Follower:
    """What one stream has told of its session."""

    def __init__(self, api: Api, session: Session, *, for_admin: bool) -> None:
        self.session = session
        self.over = False
        self.look_in_s = 0.0
        """The second look comes at once: the session may have changed before this listened."""
        self._api = api
        self._for_admin = for_admin
        self._told = ""
        self._seen_at = monotonic()

    async def news(self) -> bytes:
        """The session, if it is not as it was told last."""
        answer = await session_answer(self._api, self.session, for_admin=self._for_admin)
        text = answer.model_dump_json(by_alias=True)
        self.over = is_final(self.session.state)
        if text == self._told:
            return b""
        self._told = text
        return event("session", text)

    async def look(self) -> bytes:
        """Look again; while Redis is away, and for a while when the session is not there, nothing is new."""
        self.look_in_s = LOOK_STARTING_S
        try:
            self.session = await timely(self._api.container.sessions.get(self.session.session_id))
            told = await timely(self.news())
        except SessionNotFoundError:
            self.over = monotonic() - self._seen_at > LOST_S
            return b""
        except StoreUnavailableError:
            self._seen_at = monotonic()  # as far as anybody knows
            return b""
        self._seen_at = monotonic()
        if self.session.state is not SessionState.STARTING:
            self.look_in_s = LOOK_S
        return told
