"""An agent's line to its host: opened again whenever it breaks, for as long as the agent may live without a host."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress

from contract.messages import (
    MAX_MESSAGE_BYTES,
    AnyMessage,
    Hello,
    Measured,
    ProtocolError,
    Turn,
    UserJoined,
    UserLeft,
    parse_line,
)

log = logging.getLogger("greenroom.agent")

RETRY_S = 0.1
"""Well below the time in which a claim must be acknowledged: a host may restart just before one."""
SETTLED_S = 1.0
"""A line that the host closes sooner was not taken: an agent that is always refused has no host."""
REPORTS_KEPT = 50
"""Sent again on each new line: what a host had heard and not counted when it died is lost with it."""
UNSENT_KEPT = 200
"""Finished turns and joins that a restarting host has yet to hear of."""


class HostLink:
    """Sends messages to the host, and hands those that come to ``on_message``."""

    def __init__(
        self, path: str, hello: Callable[[], Hello], on_message: Callable[[AnyMessage], Awaitable[None]]
    ) -> None:
        self._path = path
        self._hello = hello
        self._on_message = on_message
        self._writer: asyncio.StreamWriter | None = None
        self._unsent: deque[AnyMessage] = deque(maxlen=UNSENT_KEPT)
        self._reports: deque[Measured] = deque(maxlen=REPORTS_KEPT)
        self._lost_at = time.monotonic()

    def alone_for_s(self) -> float:
        """Seconds since there was a host; 0 while there is one."""
        return 0.0 if self._writer else time.monotonic() - self._lost_at

    def send(self, message: AnyMessage) -> None:
        """Send now. Without a host, what must not be lost is kept until there is one."""
        if isinstance(message, Measured):
            self._reports.append(message)
        if self._writer is not None:
            self._writer.write(message.to_line())
        elif isinstance(message, Turn | UserJoined | UserLeft):
            self._unsent.append(message)

    async def run(self) -> None:
        """Keep the line open until cancelled."""
        while True:
            try:
                await self._connected()
            except (OSError, ProtocolError, asyncio.LimitOverrunError, ValueError) as error:
                log.debug("host is away", extra={"reason": str(error)})
            await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Wait until what was sent is on its way."""
        if self._writer is not None:
            with suppress(OSError):
                await self._writer.drain()

    async def _connected(self) -> None:
        reader, writer = await asyncio.open_unix_connection(self._path, limit=MAX_MESSAGE_BYTES)
        opened_at = time.monotonic()
        try:
            writer.write(self._hello().to_line())
            for report in self._reports:
                writer.write(report.to_line())
            while self._unsent:
                writer.write(self._unsent.popleft().to_line())
            self._writer = writer
            while line := await reader.readline():
                await self._on_message(parse_line(line))
        finally:
            self._writer = None
            if time.monotonic() - opened_at > SETTLED_S:
                self._lost_at = time.monotonic()
            writer.close()
