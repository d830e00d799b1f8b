"""How a daemon begins to be its host: heard by the store, before anything that may be another daemon's is touched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import structlog

from orchestrator.domain.errors import HostIdTakenError, StoreUnavailableError
from orchestrator.records import Heard

log = structlog.get_logger("greenroom.host")

AGAIN_S = 0.25
"""Below the time between two heartbeats of another daemon: its second one shows that it is alive."""


async def enter(heartbeat: Callable[[], Awaitable[Heard]], stopped: asyncio.Event) -> Heard | None:
    """Send heartbeats until one is accepted. None when the store is away, or the daemon is to stop.

    A lease that nobody renews is waited for: it is of a daemon that was killed and whose folder is gone, such as the
    same pod's before it was moved.

    Raises:
        HostIdTakenError: another daemon renews it.
    """
    other: str | None = None
    while not stopped.is_set():
        try:
            return await heartbeat()
        except HostIdTakenError as error:
            if other is not None and error.heartbeat != other:
                raise
            if other is None:
                left_s = round(error.lease_left_s, 1)
                log.warning("HOST_ID was another daemon's until a moment ago; its lease is waited for", left_s=left_s)
            other = error.heartbeat
        except StoreUnavailableError:
            if other is None:
                return None
        with suppress(TimeoutError):
            async with asyncio.timeout(AGAIN_S):
                await stopped.wait()
    return None
