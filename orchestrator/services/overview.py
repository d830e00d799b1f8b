"""Everything that an operator sees at a glance, at one moment."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.errors import GreenroomError
from orchestrator.ports import Lookup, Statistics
from orchestrator.records import QueuedUser, Sample
from orchestrator.services.health import Health, Report

QUEUE_SHOWN = 20
TIMEOUT_S = 2.2


@dataclass(frozen=True)
class View:
    """One look. ``queue`` is None while the store is away; ``sample`` is the newest one, if there is any."""

    report: Report
    queue: Sequence[QueuedUser] | None
    sample: Sample | None


class Overview:
    """The use case behind the console's stream."""

    def __init__(self, health: Health, lookup: Lookup, statistics: Statistics) -> None:
        self._health = health
        self._lookup = lookup
        self._statistics = statistics

    async def look(self) -> View:
        """Look at everything; answers within some seconds whatever is down."""
        report = await self._health.report()
        if report.counts is None:  # the store is away: asking it more would take one more time-out
            return View(report, None, None)
        try:
            async with asyncio.timeout(TIMEOUT_S):
                queue, samples = await asyncio.gather(self._lookup.queue(QUEUE_SHOWN), self._statistics.samples(1))
        except (GreenroomError, TimeoutError):
            return View(report, None, None)
        return View(report, queue, samples[-1] if samples else None)
