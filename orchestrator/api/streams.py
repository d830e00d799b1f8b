"""Server-sent events: what goes over the wire, how many streams there may be, and when each ends.

Format: WHATWG HTML, "Server-sent events".
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager

import anyio
from fastapi.sse import format_sse_event
from starlette.responses import Response, StreamingResponse
from starlette.types import Send

from orchestrator.domain.errors import TooManyStreamsError

MOST_STREAMS = 500
"""Of one process: each holds a file descriptor (a process has 1024 by default) and looks at Redis now and then."""
STREAM_AGE_S = 3600.0
"""Then the client connects again: a load balancer may send it elsewhere, and nothing is kept for ever."""
KEEP_ALIVE_S = 10.0
"""Without an event for so long, a comment is sent: proxies close what is silent."""
RETRY_MS = 2000
"""When the client connects again after its stream ended."""

Events = AsyncGenerator[bytes, None]
"""Events as they go over the wire; an empty one means that there is nothing new, and is due every few seconds."""


def event(name: str, data: str) -> bytes:
    """One event; ``data`` is JSON on one line."""
    return format_sse_event(event=name, data_str=data)


class Streams:
    """The open streams of this process."""

    def __init__(self, most: int = MOST_STREAMS) -> None:
        self._most = most
        self._open: set[anyio.CancelScope] = set()
        self._closing = False

    def __len__(self) -> int:
        return len(self._open)

    def response(self, events: Events) -> Response:
        """An answer that goes on until ``events`` ends, the client goes away, or the server stops."""
        return _EventStream(events, self)

    def check(self) -> None:
        """See that there may be one more.

        Raises:
            TooManyStreamsError: there may not.
        """
        if len(self._open) >= self._most:
            raise TooManyStreamsError

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

    def __init__(self, events: Events, streams: Streams) -> None:
        super().__init__(events, headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        self._events = events
        self._streams = streams

    async def stream_response(self, send: Send) -> None:
        """Send until the end, whatever ends it."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        # Closed here and not by the garbage collector: a stream that is over must not listen on.
        async with aclosing(self._events):
            with self._streams.opened():
                await self._send_all(send)
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
