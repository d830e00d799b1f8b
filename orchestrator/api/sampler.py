"""Takes the samples of the whole system, and writes down what this process measured for them."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from typing import Literal

import structlog

from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.ports import Statistics
from orchestrator.records import NO_MORE

log = structlog.get_logger("greenroom.api")

EVERY_S = 1.0
MOST_STARTS = 1000
"""Latencies that wait to be written down: a second's, at a rate that one process does not reach."""


class StartLog:
    """Starts that were answered and are not written down yet: nothing on the request path waits for that."""

    def __init__(self) -> None:
        self._count = {"warm": 0, "cold": 0}
        self._took_ms: deque[float] = deque(maxlen=MOST_STARTS)

    def note(self, kind: Literal["warm", "cold"], seconds: float) -> None:
        """A start was answered after so long."""
        self._count[kind] += 1
        self._took_ms.append(seconds * 1000)

    def take(self) -> tuple[int, int, list[float]]:
        """Warm ones, cold ones, and the milliseconds of each, since the last call."""
        taken = self._count["warm"], self._count["cold"], list(self._took_ms)
        self._count = {"warm": 0, "cold": 0}
        self._took_ms.clear()
        return taken

    def put_back(self, warm: int, cold: int, took_ms: list[float]) -> None:
        """What was taken and not written down: as if it had not been taken. Of the latencies the newest are kept."""
        self._count["warm"] += warm
        self._count["cold"] += cold
        self._took_ms = deque([*took_ms, *self._took_ms], maxlen=MOST_STARTS)


class Sampler:
    """The loop behind ``GET /api/pool/history``; every API process has one, and one of them takes each sample."""

    def __init__(
        self, statistics: Statistics, starts: StartLog, *, default_target: int, more: Mapping[str, int] = NO_MORE
    ) -> None:
        self._statistics = statistics
        self._starts = starts
        self._default_target = default_target
        self._more = more

    async def run(self) -> None:
        """Go on for ever; at the end write down what is left."""
        try:
            while True:
                await asyncio.sleep(EVERY_S)
                await self.turn()
        finally:
            with suppress(StoreUnavailableError):
                await self._write()

    async def turn(self) -> None:
        """Write down the starts, and take a sample if this moment has none. While Redis is away neither is done."""
        try:
            await self._write()
            await self._statistics.sample(self._default_target, self._more)
        except StoreUnavailableError:
            return
        except Exception:
            log.exception("no sample was taken")

    async def _write(self) -> None:
        warm, cold, took_ms = self._starts.take()
        if warm or cold:
            try:
                await self._statistics.note_starts(warm, cold, took_ms)
            except StoreUnavailableError:
                # Counted twice where only the answer was lost; not at all is what an outage would else do to each.
                self._starts.put_back(warm, cold, took_ms)
                raise
