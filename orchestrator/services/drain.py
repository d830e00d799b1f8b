"""Take a host out of service without ending a call, and put it back."""

from __future__ import annotations

import structlog

from orchestrator.domain.errors import HostNotFoundError
from orchestrator.ports import HostRegistry, SessionStore, TaskQueue
from orchestrator.records import HostView

log = structlog.get_logger("greenroom.drain")


class DrainHost:
    """The use cases behind the drain and undrain calls."""

    def __init__(self, registry: HostRegistry, store: SessionStore, queue: TaskQueue) -> None:
        self._registry = registry
        self._store = store
        self._queue = queue

    async def drain(self, host: str) -> HostView:
        """Take it out of claims and spawns and end the agents that wait on it; its calls go on. Twice is as once.

        Raises:
            HostNotFoundError: there is none with this id.
        """
        await self._registry.drain(host)
        retired = await self._store.retire_warm(host)
        log.info("draining", host=host, retired=len(retired))
        await self._queue.refill()
        return await self._view(host)

    async def undrain(self, host: str) -> HostView:
        """Put it back; whoever waited for a host has one.

        Raises:
            HostNotFoundError: there is none with this id.
        """
        await self._registry.undrain(host)
        log.info("undrained", host=host)
        await self._queue.refill()
        return await self._view(host)

    async def _view(self, host: str) -> HostView:
        view = next((view for view in await self._registry.hosts() if view.host == host), None)
        if view is None:
            raise HostNotFoundError
        return view
