"""uvicorn's connections, kept from waiting for their clients without end, and from taking a request without end.

uvicorn by itself waits for the rest of a request, or to be read from, for ever; for as many as there are file
descriptors; and takes a head of any size. It has no setting for any of it, but takes the class of its connections
(``http=``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ClassVar

from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from orchestrator.api.metrics import ClosedWhy
from orchestrator.api.middleware import MAX_WEBHOOK_BYTES, SECURITY_HEADERS
from orchestrator.api.problems import problem_of
from orchestrator.api.unfinished import Doorkeeper, Limits
from orchestrator.domain.errors import GreenroomError, HeadTooLargeError, RequestTimeoutError

MAX_REQUEST_BYTES = 64 * 1024 + MAX_WEBHOOK_BYTES
"""Of a request that is not whole yet: a head, and the largest body. Browsers send some hundred bytes, and a token has
some thousand. ``Guard`` counts bodies, and not what stands before or behind them."""
MAX_HEADERS = 200
"""Each of a few bytes takes a hundred and more here."""


class Connection(HttpToolsProtocol):
    """uvicorn's, looked at whenever something came, was answered or was read."""

    keeper: ClassVar[Doorkeeper]
    _bytes = 0
    """That came since the last one that brought the end of a request."""
    _unread_bytes = 0
    """Of what was answered, when that was last looked at."""
    _served: RequestResponseCycle | None = None
    """Of the request that is, or was last, with the app; others may have come behind it."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        self.keeper.look(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio. uvicorn tells the last request's app alone, and not that of one before it."""
        super().connection_lost(exc)
        if self._served is not None:
            self._served.disconnected = True
            self._served.message_event.set()
        self.keeper.lost(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._bytes += len(data)
        super().data_received(data)
        self._look()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._served = cycle
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        """See httptools."""
        super().on_message_complete()
        self._bytes = 0

    def on_response_complete(self) -> None:
        """uvicorn's, at the end of each answer."""
        super().on_response_complete()
        self._look()

    def pause_writing(self) -> None:
        """See asyncio."""
        super().pause_writing()
        self._unread_bytes = self.transport.get_write_buffer_size()
        self.keeper.look(self)

    def resume_writing(self) -> None:
        """See asyncio."""
        super().resume_writing()
        self.keeper.look(self)

    def is_our_turn(self) -> bool:
        """Whether a whole request came that is not answered yet, and what was answered is read."""
        return self._is_owed_an_answer() and not self.flow.write_paused

    def is_left_to_uvicorn(self) -> bool:
        """Whether uvicorn's own time-out runs, until anything comes; or it is being closed, and was read until then."""
        return not self.flow.write_paused and (self.timeout_keep_alive_task is not None or self.transport.is_closing())

    def was_read_from(self) -> bool:
        """Whether its client has read something of what it was answered since this was asked last."""
        before, self._unread_bytes = self._unread_bytes, self.transport.get_write_buffer_size()
        return self.flow.write_paused and self._unread_bytes < before

    def end_late(self) -> None:
        """Close it, and say why if half a request came that no answer was begun to, and it would be read."""
        if self._came_in_half() and not self.flow.write_paused and not self.transport.is_closing():
            self._refuse(RequestTimeoutError())
        else:
            self.drop()

    def drop(self) -> None:
        """Close it at once, with what was not read: its descriptor is wanted."""
        self.transport.abort()

    def _look(self) -> None:
        if self._is_too_large() and not self.transport.is_closing():
            if self._is_owed_an_answer():
                self.flow.pause_reading()  # what came before is answered first
            else:
                self.keeper.closed("large")
                self._refuse(HeadTooLargeError())
        self.keeper.look(self)

    def _is_too_large(self) -> bool:
        return self._bytes > MAX_REQUEST_BYTES or (self._bytes > 0 and len(self.headers or ()) > MAX_HEADERS)

    def _is_owed_an_answer(self) -> bool:
        """``cycle`` is that of the last request whose head came."""
        if self.pipeline:
            return True  # what is before those that queue came whole
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def _came_in_half(self) -> bool:
        """``scope`` begins with a head, and is its cycle's once that is whole."""
        if self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope):
            return True
        return self.cycle is not None and self.cycle.more_body and not self.cycle.response_started

    def _refuse(self, error: GreenroomError) -> None:
        if self._came_in_half():
            answer = problem_of(error)
            headers = [*self.server_state.default_headers, *answer.raw_headers, *SECURITY_HEADERS]
            lines = [b"%b: %b\r\n" % header for header in headers]
            self.transport.write(b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", answer.body]))
        self.transport.close()


def connections(limits: Limits, closed: Callable[[ClosedWhy], None]) -> type[Connection]:
    """A class for one server's connections, kept within these limits; ``closed`` is told of each that was not."""

    class Watched(Connection):
        keeper = Doorkeeper(limits, closed)

    return Watched
