"""While a host has calls, the container that it runs in is not to be picked when a platform makes do with fewer.

Where the platform can be told so. ECS can: it stops a protected task neither to scale in nor to deploy.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from orchestrator.domain.errors import ProtectionUnavailableError

log = structlog.get_logger("greenroom.host")

MINUTES = 10
"""Protection that nobody renews ends by itself after so long: a host that is gone keeps no container."""
RENEW_S = MINUTES * 60 / 2
LOOK_S = 1.0
RETRY_S = 5.0


class Protectable(Protocol):
    """What is protected (``adapters.ecs_task.EcsTask``). Each method raises ``ProtectionUnavailableError``."""

    async def protect(self, minutes: int) -> None:
        """From now on, for so long."""

    async def release(self) -> None:
        """No more."""


class Protection:
    """Protects while there are calls, and says so again before it expires."""

    def __init__(
        self, task: Protectable, have_calls: Callable[[], bool], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._task = task
        self._have_calls = have_calls
        self._clock = clock
        self._is: bool | None = None
        """None: not known, as at the start, when an earlier daemon may have said something."""
        self._say_at = -math.inf
        """When it is to be said again."""
        self._failing = False

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_S)

    async def look(self) -> None:
        """Say what is to be, if that changed, was not understood, or is about to expire."""
        wanted, now = self._have_calls(), self._clock()
        if wanted == self._is and (not wanted or now < self._say_at):
            return
        if self._failing and now < self._say_at:
            return
        try:
            await (self._task.protect(MINUTES) if wanted else self._task.release())
        except ProtectionUnavailableError as error:
            self._note_failure(error.detail, now)
        else:
            self._note_said(wanted, now)

    def _note_failure(self, reason: str, now: float) -> None:
        if not self._failing:  # once, not every five seconds
            log.error("the container is not protected: it may be stopped during a call", reason=reason)
        self._failing, self._is, self._say_at = True, None, now + RETRY_S

    def _note_said(self, wanted: bool, now: float) -> None:
        if self._is is not wanted:
            log.info("the container is protected" if wanted else "the container may be stopped")
        self._failing, self._is, self._say_at = False, wanted, now + RENEW_S
