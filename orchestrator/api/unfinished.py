"""Connections without a whole request: how long each may be so, how many there may be at once, how much each may send.

uvicorn by itself waits for the rest of a request for ever, for as many of them as there are file descriptors, and takes
a head of any size. It has no setting for any of it, but takes the class of its connections (``http=``).
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from orchestrator.api.metrics import ClosedWhy
from orchestrator.api.middleware import SECURITY_HEADERS
from orchestrator.api.problems import problem_of
from orchestrator.domain.errors import GreenroomError, HeadTooLargeError, RequestTimeoutError

log = structlog.get_logger("greenroom.api")

REQUEST_S = 10.0
"""For a whole request, head and body. Ours have 64 KiB at most, and clients send them in milliseconds."""
MOST_UNFINISHED = 1024
MAX_HEAD_BYTES = 64 * 1024
"""Browsers send some hundred bytes, a token among them some thousand. Bodies have limits of their own (``Guard``)."""
TELL_EVERY_S = 60.0
"""A flood is told of so often, and not for each of its connections."""

C = TypeVar("C", bound=Hashable)


@dataclass(frozen=True)
class Limits:
    """What connections without a whole request may take."""

    most: int = MOST_UNFINISHED
    request_s: float = REQUEST_S

    @classmethod
    def within(cls, open_files: int) -> Limits:
        """An eighth of so many files: with 1024, there is room beside them for 520 streams and 256 of Redis's."""
        return cls(most=max(1, min(MOST_UNFINISHED, open_files // 8)))


class Unfinished(Generic[C]):
    """Which connections are without a whole request, in the order in which they became so.

    It reads no clock and closes nothing: it says which ones are to be closed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sending: OrderedDict[C, float] = OrderedDict()
        """Those that have to send a whole request in time, and since when."""
        self._idle: OrderedDict[C, float] = OrderedDict()
        """Those that only count: uvicorn ends them when they stay silent, or they are about to be closed."""

    def __len__(self) -> int:
        return len(self._sending) + len(self._idle)

    def sends(self, connection: C, now: float) -> None:
        """It was opened, or goes on with a request: the first time counts."""
        if connection not in self._sending:
            self._idle.pop(connection, None)
            self._sending[connection] = now

    def idles(self, connection: C, now: float) -> None:
        """It need not send anything; the first time counts."""
        self._sending.pop(connection, None)
        self._idle.setdefault(connection, now)

    def leaves(self, connection: C) -> None:
        """It has sent a whole request, or is gone."""
        if self._sending.pop(connection, None) is None:
            self._idle.pop(connection, None)

    def one_too_many(self) -> C | None:
        """The one that has been without a request for longest, if there are more than there may be; it leaves."""
        if len(self) <= self._limits.most:
            return None
        eldest = min((each for each in (self._sending, self._idle) if each), key=lambda each: next(iter(each.values())))
        return eldest.popitem(last=False)[0]

    def late(self, now: float) -> list[C]:
        """Those whose time is over. They count until they are gone: what they were sent may take a while to leave."""
        late = []
        while (at := self.next_at()) is not None and at <= now:
            connection, _ = self._sending.popitem(last=False)
            self._idle[connection] = now
            late.append(connection)
        return late

    def next_at(self) -> float | None:
        """When the next one's time is over."""
        since = next(iter(self._sending.values()), None)
        return None if since is None else since + self._limits.request_s


class Watch:
    """Closes the connections that ``Unfinished`` says, and tells of it.

    One timer for all of them, set for the first: a request that comes in time sets and cancels none.
    """

    def __init__(self, limits: Limits, closed: Callable[[ClosedWhy], None]) -> None:
        self._limits = limits
        self._unfinished: Unfinished[Connection] = Unfinished(limits)
        self._closed = closed
        self._timer: asyncio.TimerHandle | None = None
        self._crowded_out = 0
        """Since it was told last."""
        self._told_at = -math.inf

    def look(self, connection: Connection) -> None:
        """It may have sent or been answered something."""
        if connection.is_owed_an_answer():
            self._unfinished.leaves(connection)
            return
        now = connection.loop.time()
        if connection.is_left_to_uvicorn():
            self._unfinished.idles(connection, now)
        else:
            self._unfinished.sends(connection, now)
            self._set_timer(connection.loop)
        self._make_room(now)

    def lost(self, connection: Connection) -> None:
        """It is closed."""
        self._unfinished.leaves(connection)

    def _make_room(self, now: float) -> None:
        eldest = self._unfinished.one_too_many()
        if eldest is None:
            return
        eldest.drop()
        self._closed("crowded")
        self._crowded_out += 1
        if now - self._told_at >= TELL_EVERY_S:
            log.warning(
                "too many connections without a whole request", most=self._limits.most, closed=self._crowded_out
            )
            self._told_at, self._crowded_out = now, 0

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        at = self._unfinished.next_at()
        if self._timer is None and at is not None:
            self._timer = loop.call_at(at, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        for connection in self._unfinished.late(loop.time()):
            connection.end_late()
            self._closed("late")
        self._set_timer(loop)


class Connection(HttpToolsProtocol):
    """uvicorn's, looked at whenever something came or was answered."""

    watch: ClassVar[Watch]
    _head_bytes = 0
    """Of a head that is not whole yet."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio."""
        super().connection_made(transport)
        self.watch.look(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        super().connection_lost(exc)
        self.watch.lost(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        super().data_received(data)
        self._head_bytes = self._head_bytes + len(data) if self._has_half_a_head() else 0
        if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
            self._end(HeadTooLargeError())
        self.watch.look(self)

    def on_response_complete(self) -> None:
        """uvicorn's, at the end of each answer."""
        super().on_response_complete()
        self.watch.look(self)

    def is_owed_an_answer(self) -> bool:
        """Whether a whole request came that is not answered yet. ``cycle`` is the last one whose head came."""
        if self.pipeline:
            return True  # what is before those that queue came whole
        return self.cycle is not None and not self.cycle.more_body and not self.cycle.response_complete

    def is_left_to_uvicorn(self) -> bool:
        """Whether uvicorn closes it by itself: its time-out runs, until anything comes, or it is being closed."""
        return self.timeout_keep_alive_task is not None or self.transport.is_closing()

    def end_late(self) -> None:
        """Close it, and say why if half a request came that no answer was begun to."""
        if self._has_half_a_head() or (self.cycle is not None and not self.cycle.response_started):
            self._end(RequestTimeoutError())
        else:
            self.drop()

    def drop(self) -> None:
        """Close it at once: its descriptor is wanted."""
        self._leave_app()
        self.transport.abort()

    def _end(self, error: GreenroomError) -> None:
        self.transport.write(self._answer(error))
        self._leave_app()
        self.transport.close()

    def _has_half_a_head(self) -> bool:
        """``scope`` begins with a head, and is its cycle's once that is whole."""
        return self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope)

    def _leave_app(self) -> None:
        """What waits for the rest of a body hears that none comes, and answers no more."""
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()

    def _answer(self, error: GreenroomError) -> bytes:
        answer = problem_of(error)
        headers = [*self.server_state.default_headers, *answer.raw_headers, *SECURITY_HEADERS]
        lines = [b"%b: %b\r\n" % header for header in headers]
        return b"".join([STATUS_LINE[answer.status_code], *lines, b"\r\n", answer.body])


def connections(limits: Limits, closed: Callable[[ClosedWhy], None]) -> type[Connection]:
    """A class for one server's connections, kept within these limits; ``closed`` is told of each that was not."""

    class Watched(Connection):
        watch = Watch(limits, closed)

    return Watched
