"""Server-sent events: what goes over the wire, how many streams there may be, and when each ends.

Format: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing, contextmanager

import anyio
from fastapi.sse import format_sse_event
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from orchestrator.domain.errors import TooManyStreamsError

MOST_STREAMS = 500
"""Callers' streams of one process: each holds a file descriptor and looks at Redis now and then."""
MOST_OF_ONE = 10
"""Callers' streams of one session: a page has one, and one more for each tab and for each connection that hangs."""
MOST_ADMIN = 20
"""The admin's streams, besides all others: however many callers there are, the console can look."""
STREAM_AGE_S = 3600.0
"""Then the client connects again: a load balancer may send it elsewhere, and nothing is kept for ever."""
KEEP_ALIVE_S = 10.0
"""Without an event for so long, a comment is sent: proxies close what is silent."""
RETRY_MS = 2000
"""When the client connects again after its stream ended."""
LAST_SEND_S = 2.0
"""So long is waited for a client that does not read, to tell it that its stream is over."""

Events = AsyncGenerator[bytes, None]
"""Events as they go over the wire; an empty one means that there is nothing new, and is due every few seconds."""


def event(name: str, data: str) -> bytes:
    """One event; ``data`` is JSON on one line."""
    return format_sse_event(event=name, data_str=data)


class Place:
    """The right to one stream. As a context, it is given back where no answer comes of it."""

    def __init__(self, give_back: Callable[[], None]) -> None:
        self._give_back: Callable[[], None] | None = give_back

    def __enter__(self) -> Place:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.give_back()

    def give_back(self) -> None:
        """Let another stream have it; the second time changes nothing."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back()


class Streams:
    """The open streams of this process."""

    def __init__(
        self, most: int = MOST_STREAMS, *, most_of_one: int = MOST_OF_ONE, most_admin: int = MOST_ADMIN
    ) -> None:
        self._most, self._most_of_one, self._most_admin = most, most_of_one, most_admin
        self._callers: Counter[str] = Counter()
        self._admins = 0
        self._open: set[anyio.CancelScope] = set()
        self._closing = False

    def __len__(self) -> int:
        return self._callers.total() + self._admins

    def take(self, session_id: str) -> Place:
        """A place for a caller's stream of this session.

        To be taken before anything is awaited: one that is only seen to be free may be gone by then.

        Raises:
            TooManyStreamsError: there are as many as there may be, of this session or of all.
        """
        if self._callers[session_id] >= self._most_of_one or self._callers.total() >= self._most:
            raise TooManyStreamsError
        self._callers[session_id] += 1
        return Place(lambda: self._left(session_id))

    def take_admin(self) -> Place:
        """A place for a stream of the admin's.

        Raises:
            TooManyStreamsError: the admin has as many as there may be.
        """
        if self._admins >= self._most_admin:
            raise TooManyStreamsError
        self._admins += 1
        return Place(self._admin_left)

    def _left(self, session_id: str) -> None:
        self._callers -= Counter([session_id])  # drops what is at zero: ids are not kept for ever

    def _admin_left(self) -> None:
        self._admins -= 1

    def response(self, events: Events, place: Place) -> Response:
        """An answer that goes on until ``events`` ends, the client goes away, or the server stops.

        It gives ``place`` back at its end.
        """
        return _EventStream(events, self, place)

    def close(self) -> None:
        """End all of them, and those to come at once: a server that stops waits for its open answers."""
        self._closing = True
        for scope in self._open:
            scope.cancel()

    @contextmanager
    def opened(self) -> Iterator[None]:
        """What happens in here ends with the stream's time, or with ``close``."""
        with anyio.move_on_after(STREAM_AGE_S) as scope:
            self._open.add(scope)
            if self._closing:
                scope.cancel()
            try:
                yield
            finally:
                self._open.discard(scope)


class _EventStream(StreamingResponse):
    """Starlette's own watches for the client's end; this one for all others."""

    media_type = "text/event-stream"

    def __init__(self, events: Events, streams: Streams, place: Place) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._events = events
        self._streams = streams
        self._place = place

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._place.give_back()

    async def stream_response(self, send: Send) -> None:
        """Send until the end, whatever ends it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # Closed here and not by the garbage collector: a stream that is over must not listen on.
        async with aclosing(self._events):
            with self._streams.opened():
                await self._send_all(send)
        with anyio.move_on_after(LAST_SEND_S):  # a client that does not read would keep it waiting for ever
            await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_all(self, send: Send) -> None:
        await _send_chunk(send, format_sse_event(retry=RETRY_MS))
        sent_at = time.monotonic()
        async for chunk in self._events:
            if not chunk and time.monotonic() - sent_at < KEEP_ALIVE_S:
                continue
            await _send_chunk(send, chunk or format_sse_event(comment="still here"))
            sent_at = time.monotonic()


async def _send_chunk(send: Send, chunk: bytes) -> None:
    await send({"type": "http.response.body", "body": chunk, "more_body": True})
