"""Stop a storm of spawns that fail, and find out when they succeed again. The domain decides; this performs."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import suppress

import structlog

from contract.keys import DEFAULT_KIND
from orchestrator.domain.breaker import Breaker, BreakerPolicy, Phase
from orchestrator.domain.errors import QueueUnavailableError
from orchestrator.ports import Breakers, TaskQueue
from orchestrator.records import BreakerView

log = structlog.get_logger("greenroom.breaker")

DECIDED_ANEW = 50
"""How often an outcome is decided anew where others came in between; each time one of these was written."""
MARGIN_S = 0.05
"""So that the refill does not come a moment before it is half-open."""


class SpawnBreaker:
    """What spawns came to is told here; it opens, and has the pool refilled when one may be tried."""

    def __init__(
        self,
        breakers: Breakers,
        queue: TaskQueue,
        policy: BreakerPolicy,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._breakers = breakers
        self._queue = queue
        self._policy = policy
        self._draw = draw

    async def succeeded(self, kind: str = DEFAULT_KIND) -> None:
        """A spawn of this kind succeeded."""
        view, after = await self._change(kind, lambda view: view.breaker.succeeded())
        if view.breaker.opened and not after.opened:
            log.info("agents can be started again", breaker=kind, code=view.breaker.code)

    async def failed(self, code: str, reason: str, kind: str = DEFAULT_KIND) -> bool:
        """A spawn of this kind failed; returns whether others of it are to be held back."""
        jitter = self._draw()

        def decide(view: BreakerView) -> Breaker:
            return view.breaker.failed(self._policy, view.now, jitter, code, reason)

        view, after = await self._change(kind, decide)
        if after.opened != view.breaker.opened:
            open_s = self._policy.open_s(after.opened, jitter)
            words = "spawns keep failing: none is begun for a while"
            log.error(words, breaker=kind, open_s=round(open_s, 2), code=code, reason=after.reason)
            await self._have_one_tried(open_s)
            with suppress(QueueUnavailableError):
                await self._queue.refill()  # it tells those who have waited for long
        elif view.phase is Phase.HALF_OPEN:
            # The try met no host, which says nothing: another one is due, and nobody else would begin it.
            await self._have_one_tried(self._policy.open_s(1, jitter))
        return after.opened > 0

    async def _have_one_tried(self, in_s: float) -> None:
        with suppress(QueueUnavailableError):  # beat's refill is the backstop
            await self._queue.refill(delay_s=in_s + MARGIN_S)

    async def _change(self, kind: str, decide: Callable[[BreakerView], Breaker]) -> tuple[BreakerView, Breaker]:
        """What it was and what it is, once an outcome has been taken into account."""
        view = await self._breakers.look(kind)
        for _ in range(DECIDED_ANEW):
            after = decide(view)
            if after == view.breaker or await self._breakers.change(kind, view.version, after):
                return view, after
            view = await self._breakers.look(kind)
        return view, view.breaker
