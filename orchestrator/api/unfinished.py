"""Connections that wait for their client: how long each may, and how many there may be at once.

For the rest of a request, or to be read from. A request that came whole, and whose answer is read, waits for us.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import structlog

from orchestrator.api.metrics import ClosedWhy

log = structlog.get_logger("greenroom.api")

CLIENT_S = 10.0
"""For a whole request, which clients send in milliseconds; and to read some more of an answer."""
MOST_UNFINISHED = 1024
TELL_EVERY_S = 60.0
"""A flood is told of so often, and not for each of its connections."""

C = TypeVar("C", bound=Hashable)


@dataclass(frozen=True)
class Limits:
    """What connections that wait for their client may take."""

    most: int = MOST_UNFINISHED
    client_s: float = CLIENT_S

    @classmethod
    def within(cls, open_files: int) -> Limits:
        """An eighth of so many files: with 1024, there is room beside them for 520 streams and 256 of Redis's."""
        return cls(most=max(1, min(MOST_UNFINISHED, open_files // 8)))


class Unfinished(Generic[C]):
    """Which connections wait for their client, in the order in which they began to.

    It reads no clock and closes nothing: it says which ones are to be closed.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._timed: OrderedDict[C, float] = OrderedDict()
        """Those whose client has to send or read in time, and since when."""
        self._idle: OrderedDict[C, float] = OrderedDict()
        """Those that only count: uvicorn ends them when they stay silent, or they are about to be closed."""

    def __len__(self) -> int:
        return len(self._timed) + len(self._idle)

    def waits(self, connection: C, now: float) -> None:
        """It was opened, or goes on with a request, or is not read from: the first time counts."""
        if connection not in self._timed:
            self._idle.pop(connection, None)
            self._timed[connection] = now

    def idles(self, connection: C, now: float) -> None:
        """Its client need not do anything; the first time counts."""
        self._timed.pop(connection, None)
        self._idle.setdefault(connection, now)

    def leaves(self, connection: C) -> None:
        """It waits for us, or is gone."""
        if self._timed.pop(connection, None) is None:
            self._idle.pop(connection, None)

    def one_too_many(self) -> C | None:
        """The one that has waited for longest, if there are more than there may be; it leaves."""
        if len(self) <= self._limits.most:
            return None
        eldest = min((each for each in (self._timed, self._idle) if each), key=lambda each: next(iter(each.values())))
        return eldest.popitem(last=False)[0]

    def late(self, now: float) -> list[C]:
        """Those whose time is over. They count until they are gone: what they were sent may take a while to leave."""
        late = []
        while (at := self.next_at()) is not None and at <= now:
            connection, _ = self._timed.popitem(last=False)
            self._idle[connection] = now
            late.append(connection)
        return late

    def next_at(self) -> float | None:
        """When the next one's time is over."""
        since = next(iter(self._timed.values()), None)
        return None if since is None else since + self._limits.client_s


class Kept(Hashable, Protocol):
    """What is closed (``connections.Connection``)."""

    loop: asyncio.AbstractEventLoop

    def is_our_turn(self) -> bool:
        """Whether it waits for us, and not for its client."""

    def is_left_to_uvicorn(self) -> bool:
        """Whether it ends by itself, should its client do nothing."""

    def was_read_from(self) -> bool:
        """Whether its client has read something since this was asked last."""

    def end_late(self) -> None:
        """Its client's time is over: close it."""

    def drop(self) -> None:
        """Close it at once."""


class Doorkeeper:
    """Closes the connections that ``Unfinished`` says, and tells of it.

    One timer for all of them, set for the first: a request that comes in time sets and cancels none.
    """

    def __init__(self, limits: Limits, closed: Callable[[ClosedWhy], None]) -> None:
        self._limits = limits
        self._unfinished: Unfinished[Kept] = Unfinished(limits)
        self.closed = closed
        """Is told of each that is closed."""
        self._timer: asyncio.TimerHandle | None = None
        self._crowded_out = 0
        """Since it was told last."""
        self._tells: asyncio.TimerHandle | None = None

    def look(self, connection: Kept) -> None:
        """It may have sent, read or been answered something."""
        if connection.is_our_turn():
            self._unfinished.leaves(connection)
            return
        now = connection.loop.time()
        if connection.is_left_to_uvicorn():
            self._unfinished.idles(connection, now)
        else:
            self._unfinished.waits(connection, now)
            self._set_timer(connection.loop)
        self._make_room(connection.loop)

    def lost(self, connection: Kept) -> None:
        """It is closed."""
        self._unfinished.leaves(connection)

    def _make_room(self, loop: asyncio.AbstractEventLoop) -> None:
        eldest = self._unfinished.one_too_many()
        if eldest is None:
            return
        eldest.drop()
        self.closed("crowded")
        self._crowded_out += 1
        if self._tells is None:
            self._tell(loop)

    def _tell(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._crowded_out == 0:
            self._tells = None
            return
        most, closed = self._limits.most, self._crowded_out
        log.warning("too many connections wait for their clients", most=most, closed=closed)
        self._crowded_out, self._tells = 0, loop.call_later(TELL_EVERY_S, self._tell, loop)

    def _set_timer(self, loop: asyncio.AbstractEventLoop) -> None:
        at = self._unfinished.next_at()
        if self._timer is None and at is not None:
            self._timer = loop.call_at(at, self._sweep, loop)

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        for connection in self._unfinished.late(now):
            if connection.was_read_from():
                self._unfinished.waits(connection, now)
            else:
                connection.end_late()
                self.closed("late")
        self._set_timer(loop)
