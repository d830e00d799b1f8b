"""What the host has to tell the store: each session's reports in order, also through an outage of the store."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from orchestrator.domain.errors import QueueUnavailableError, StoreUnavailableError

log = structlog.get_logger("greenroom.host")

KEPT = 500
"""Of one session. An agent that says much pushes out its own, and nobody else's."""
RETRY_S = 0.5
AWAY = (StoreUnavailableError, QueueUnavailableError)

Report = Callable[[], Awaitable[object]]


@dataclass(frozen=True, eq=False)
class _Waiting:
    report: Report
    must_keep: bool


class Outbox:
    """One line of reports for each session, served in turn; while the store is away they wait, bounded.

    A death has its place in its own session's line, behind the turns that a successor goes on from. It is never
    dropped, and waits for at most one report of each other session for each of its own before it.
    """

    def __init__(self) -> None:
        self._lines: dict[str, deque[_Waiting]] = {}
        self._some = asyncio.Event()

    def put(self, session_id: str, report: Report, *, must_keep: bool = False) -> None:
        """Make this report as soon as the store can be told.

        Where too many wait, the oldest one goes that need not be kept.
        """
        line = self._lines.setdefault(session_id, deque())
        if len(line) >= KEPT and (oldest := next((w for w in line if not w.must_keep), None)) is not None:
            line.remove(oldest)
        line.append(_Waiting(report, must_keep))
        self._some.set()

    async def run(self) -> None:
        """Make reports until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            while self._lines:
                for session_id in list(self._lines):
                    if not await self._make_first(session_id):
                        await asyncio.sleep(RETRY_S)

    async def flush(self) -> None:
        """Make what is left, once: for a daemon that stops."""
        while self._lines:
            for session_id in list(self._lines):
                if not await self._make_first(session_id):
                    log.warning("not reported: the store is away", left=sum(map(len, self._lines.values())))
                    return

    async def _make_first(self, session_id: str) -> bool:
        """Make a session's oldest report; returns false when it is to be made again."""
        first = self._lines[session_id][0]
        try:
            await first.report()
        except AWAY:
            return False
        except Exception:
            log.exception("a report failed and is dropped")
        self._done(session_id, first)
        return True

    def _done(self, session_id: str, made: _Waiting) -> None:
        """Unless it was pushed out while it was made."""
        line = self._lines[session_id]
        if line[0] is made:
            line.popleft()
        if not line:
            del self._lines[session_id]
