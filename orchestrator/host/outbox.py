"""What the host has to tell the store, in order, also through an outage of the store."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import structlog

from orchestrator.domain.errors import QueueUnavailableError, StoreUnavailableError

log = structlog.get_logger("greenroom.host")

KEPT = 5_000
RETRY_S = 0.5
AWAY = (StoreUnavailableError, QueueUnavailableError)

Report = Callable[[], Awaitable[object]]


class Outbox:
    """Reports are made one after another; while the store is away they wait, bounded."""

    def __init__(self) -> None:
        self._reports: deque[Report] = deque(maxlen=KEPT)
        self._some = asyncio.Event()

    def put(self, report: Report) -> None:
        """Make this report as soon as the store can be told."""
        self._reports.append(report)
        self._some.set()

    async def run(self) -> None:
        """Make reports until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._reports:
                await self._make(self._reports[0])

    async def flush(self) -> None:
        """Make what is left, once: for a daemon that stops."""
        while self._reports:
            try:
                await self._reports.popleft()()
            except AWAY:
                log.warning("not reported: the store is away", left=len(self._reports) + 1)
                return
            except Exception:
                log.exception("a report failed and is dropped")

    async def _make(self, report: Report) -> None:
        try:
            await report()
        except AWAY:
            await asyncio.sleep(RETRY_S)
            return
        except Exception:
            log.exception("a report failed and is dropped")
        if self._reports and self._reports[0] is report:
            self._reports.popleft()
