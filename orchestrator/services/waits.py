"""How long somebody who waits for an agent will wait."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.domain.pool import estimated_wait_s
from orchestrator.ports import SessionStore

TYPICAL_SPAWN_S = 0.4
"""Until a spawn was measured."""
FRESH_S = 1.0
"""One look at the measured spawns serves every question within so long: each who waits asks every second."""


class Waits:
    """Estimates, from the spawns that were measured."""

    def __init__(self, store: SessionStore, concurrency: int, clock: Callable[[], float]) -> None:
        self._store = store
        self._concurrency = concurrency
        self._clock = clock
        self._spawn_s = TYPICAL_SPAWN_S
        self._looked_at = float("-inf")

    async def estimate_s(self, position: int) -> float:
        """Seconds until the one in this place (from 1) has an agent.

        Raises:
            StoreUnavailableError: Redis is away.
        """
        if self._clock() - self._looked_at >= FRESH_S:
            await self._look()
        return estimated_wait_s(position, self._spawn_s, self._concurrency)

    async def _look(self) -> None:
        """Measure anew. Who asks meanwhile has the estimate from before, and causes no second look."""
        self._looked_at = self._clock()
        try:
            recent = sorted((await self._store.spawn_stats()).recent_s)
        except BaseException:  # also where the one who asked went away
            self._looked_at = float("-inf")
            raise
        self._spawn_s = recent[len(recent) // 2] if recent else TYPICAL_SPAWN_S
