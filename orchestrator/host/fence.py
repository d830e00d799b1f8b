"""A host that is cut off ends its agents itself, before others may take its calls over.

Else they would go on running where nobody hears them, and once the network is back LiveKit's client would resume their
room connections by itself: in the place of their successors.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

import structlog

from orchestrator.domain.errors import RoomsUnavailableError, RoomsUnreachableError

log = structlog.get_logger("greenroom.host")

REASON = "its host was cut off: neither Redis nor LiveKit answered"
MISSES = 2
"""LiveKit is asked so often in vain before a host takes itself for cut off."""
LOOK_S = 0.1


class Fenced(Protocol):
    """What is ended (``Agents``)."""

    def __len__(self) -> int:
        """How many there are."""

    def kill_all(self, reason: str) -> None:
        """End all of them at once."""


class Reachable(Protocol):
    """What else the machine's network leads to (``ports.Rooms``)."""

    async def ping(self) -> None:
        """Raise ``RoomsUnreachableError`` when LiveKit does not answer; ``RoomsUnavailableError`` when it refuses."""


class Fence:
    """Watches for how long the store has not answered a heartbeat, and then whether LiveKit answers.

    Where LiveKit does, it is only Redis that is away, and calls go on: an agent that is in its room is put out of it
    when a successor comes. An agent that is not would come back. An answer is an answer, whatever it says: LiveKit
    refuses requests while a Redis of its own is away, past its limits, and where the clocks differ.
    """

    def __init__(
        self, agents: Fenced, rooms: Reachable, *, after_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._agents = agents
        self._rooms = rooms
        self._after_s = after_s
        self._clock = clock
        self._heard_at = clock()
        self._answered_at = -math.inf
        self._misses = 0

    def heard(self, asked_at: float) -> None:
        """The store answered a heartbeat that was sent then, by this clock."""
        self._heard_at = asked_at
        self._misses = 0

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(LOOK_S)
            await self.look()

    async def look(self) -> None:
        """Ask LiveKit when the store has been silent for some time; end the agents when both have been."""
        now = self._clock()
        silent_s = now - self._heard_at
        if self._misses >= MISSES:
            if silent_s >= self._after_s:
                self._cut_off(silent_s)
        elif silent_s >= self._after_s * 0.4 and now - self._answered_at >= self._after_s / 8:
            # Two of these and the time before them fit into ``after_s``: it is then known in time.
            if await self._answers(self._after_s / 4):
                self._misses, self._answered_at = 0, self._clock()
            else:
                self._misses += 1

    def _cut_off(self, silent_s: float) -> None:
        self._misses = 0
        if len(self._agents):
            count, rounded_s = len(self._agents), round(silent_s, 1)
            log.error("this host is cut off; its agents are ended", agents=count, silent_s=rounded_s)
            self._agents.kill_all(REASON)

    async def _answers(self, timeout_s: float) -> bool:
        try:
            async with asyncio.timeout(timeout_s):
                await self._rooms.ping()
        except (RoomsUnreachableError, TimeoutError):
            return False
        except RoomsUnavailableError:
            pass  # who refuses is there
        return True
