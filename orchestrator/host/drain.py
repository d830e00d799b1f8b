"""What a host does while it drains: nothing new, no agent that waits, and each call until it ends or its time is up."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from orchestrator.host.agents import Agents
from orchestrator.ports import HostRegistry, SessionStore
from orchestrator.records import DrainOrder

log = structlog.get_logger("greenroom.host")

WAIT_POLL_S = 0.1


class Drain:
    """This host's part of a drain. What it is told comes with its heartbeats, so ``look`` follows each of them."""

    def __init__(
        self,
        host: str,
        agents: Agents,
        store: SessionStore,
        registry: HostRegistry,
        *,
        timeout_s: float,
        on_undrained: Callable[[], object],
        kept: Path,
    ) -> None:
        self._host = host
        self._agents = agents
        self._store = store
        self._registry = registry
        self._timeout_s = timeout_s
        self._time_is_up = f"its host was drained, and DRAIN_TIMEOUT_S ({timeout_s:g} s) was over"
        self._on_undrained = on_undrained
        self._kept = kept
        """There while an operator drains this host: through restarts, also of a store that comes back empty."""
        self._ordered = kept.exists()
        self._leaving = False
        self._said = False

    @property
    def is_ordered(self) -> bool:
        """An operator drains this host, as far as it has heard."""
        return self._ordered

    @property
    def is_done(self) -> bool:
        """It drains, and no agent is left or on its way."""
        return self._agents.draining and self._agents.are_gone

    def leave(self) -> None:
        """The machine is being stopped: from now on it drains, whatever the store says."""
        self._leaving = self._agents.draining = True
        log.info("host drains before it stops", host=self._host, agents=len(self._agents), at_most_s=self._timeout_s)

    async def look(self, order: DrainOrder | None) -> None:
        """Do what a heartbeat was answered.

        Raises:
            StoreUnavailableError: the store is away; the next heartbeat does it.
        """
        if order is not None and order.by_stop and not self._leaving:
            log.info("undrained: it was for a stop, and this is the next start", host=self._host)
            await self._registry.undrain(self._host)
            order = None
        self._keep(order is not None and not order.by_stop)
        if self._leaving and order is None:
            await self._registry.drain(self._host, by_stop=True)
        self._follow(order)
        if not self._agents.draining:
            return
        if any(agent.phase == "ready" for agent in self._agents.all()):  # it came after the drain had begun
            await self._store.retire_warm(self._host)
        if order is not None and order.for_s > self._timeout_s:
            self._end_calls()
        self._say_when_done()

    def _keep(self, ordered: bool) -> None:
        if ordered == self._ordered:
            return
        self._ordered = ordered
        with suppress(OSError):  # it is known here until this daemon ends, and the store knows it
            if ordered:
                self._kept.touch()
            else:
                self._kept.unlink(missing_ok=True)

    def _follow(self, order: DrainOrder | None) -> None:
        draining = self._leaving or order is not None
        if draining == self._agents.draining:
            return
        self._agents.draining = draining
        log.info("host drains" if draining else "host is undrained", host=self._host, agents=len(self._agents))
        if not draining:
            self._said = False
            self._on_undrained()

    def _end_calls(self) -> None:
        for agent in self._agents.all():
            if agent.ending is None:
                self._agents.end_soon(agent, self._time_is_up)

    def _say_when_done(self) -> None:
        if self.is_done and not self._said:
            log.info("host is drained", host=self._host)
        self._said = self.is_done

    async def wait(self) -> None:
        """Return when all calls have ended, or were ended because their time is up; also while the store is away."""
        try:
            async with asyncio.timeout(self._timeout_s):
                while not self.is_done:  # noqa: ASYNC110 - an agent's death and a fork's end have no one event
                    await asyncio.sleep(WAIT_POLL_S)
        except TimeoutError:
            await self._agents.end_all(self._time_is_up)
