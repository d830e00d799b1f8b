"""How long somebody who waits for an agent will wait."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

from contract.keys import DEFAULT_KIND
from orchestrator.domain.pool import KindPolicy, PoolPolicy, PoolSnapshot, estimated_wait_s, wait_for_places_s
from orchestrator.ports import SessionStore
from orchestrator.records import Limits

TYPICAL_SPAWN_S = 0.4
"""Until a spawn was measured."""
FRESH_S = 1.0
"""One look at what was measured serves every question within so long: each who waits asks every second."""
LONGEST_RETRY_S = 60
"""Calls do not end evenly: one who was refused may look that often."""


class Waits:
    """Estimates, from the spawns and the calls that were measured."""

    def __init__(
        self, store: SessionStore, limits: Limits, clock: Callable[[], float], *, more: Collection[str] = ()
    ) -> None:
        self._store = store
        self._clock = clock
        self._more = more
        kinds = {kind: KindPolicy(0, limits.most_of.get(kind)) for kind in (DEFAULT_KIND, *more)}
        self._max_queue = limits.max_queue
        self._policy = PoolPolicy(kinds, limits.max_agents, limits.spawn_concurrency)
        self._spawn_s = TYPICAL_SPAWN_S
        self._call_s: float | None = None
        self._pools = PoolSnapshot({}, 0)
        self._looked_at = float("-inf")

    async def estimate_s(self, position: int, place: int | None = None, kind: str = DEFAULT_KIND) -> float | None:
        """Seconds until the one in this position (from 1) has an agent; None when nobody can say.

        ``place`` is that among those who wait for capacity (from 1): None for one whose spawn is under way.

        Raises:
            StoreUnavailableError: Redis is away.
        """
        await self._look()
        free_in_s = 0.0 if place is None else self._free_in_s(place, kind, waiting=place)
        if free_in_s is None:
            return None
        return free_in_s + estimated_wait_s(1 if free_in_s else position, self._spawn_s, self._policy.spawn_concurrency)

    async def retry_after_s(self, kind: str) -> int | None:
        """In how many seconds the queue has a place again; None when nobody can say.

        Raises:
            StoreUnavailableError: Redis is away.
        """
        await self._look()
        free_in_s = self._free_in_s(1, kind, waiting=max(1, self._max_queue))
        return None if free_in_s is None else max(1, min(LONGEST_RETRY_S, math.ceil(free_in_s)))

    def _free_in_s(self, places: int, kind: str, *, waiting: int) -> float | None:
        """None also where so many wait by now, and fewer did at the last look: what was free then is taken."""
        if len(self._pools.waiting) < waiting and self._wait_s(1, kind) == 0:
            return None
        return self._wait_s(places, kind)

    def _wait_s(self, places: int, kind: str) -> float | None:
        return wait_for_places_s(places, kind, self._pools, self._policy, self._call_s)

    async def _look(self) -> None:
        """Measure anew, if it is time. Who asks meanwhile has the estimate from before, and causes no second look."""
        if self._clock() - self._looked_at < FRESH_S:
            return
        self._looked_at = self._clock()
        try:
            spawns_s = sorted((await self._store.spawn_stats()).recent_s)
            calls_s = await self._store.call_lengths_s()
            self._pools = await self._store.snapshot(self._more)
        except BaseException:  # also where the one who asked went away
            self._looked_at = float("-inf")
            raise
        self._spawn_s = spawns_s[len(spawns_s) // 2] if spawns_s else TYPICAL_SPAWN_S
        self._call_s = sum(calls_s) / len(calls_s) if calls_s else None
