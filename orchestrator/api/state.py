"""What one API process has, and how a handler reaches it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import TypeVar

from fastapi import Request

from orchestrator.api.background import Background
from orchestrator.api.limits import StartLimits
from orchestrator.api.live import Live
from orchestrator.api.metrics import Metrics
from orchestrator.api.sampler import StartLog
from orchestrator.api.security import Security
from orchestrator.api.streams import Streams
from orchestrator.bootstrap import Container
from orchestrator.domain.errors import StoreUnavailableError

T = TypeVar("T")

STORE_DEADLINE_S = 2.3
"""A caller hears within 2.5 s that Redis is away, also when every connection is taken by others who wait for it."""


@dataclass(frozen=True)
class Api:
    """The parts that handlers use."""

    container: Container
    security: Security
    metrics: Metrics
    background: Background
    streams: Streams
    live: Live
    starts: StartLog
    limits: StartLimits


def api_of(request: Request) -> Api:
    """The API that this request came to."""
    api: Api = request.app.state.api
    return api


async def timely(call: Awaitable[T]) -> T:
    """Wait for what the store is asked, but not for longer than a caller should.

    Raises:
        StoreUnavailableError: it took too long.
    """
    try:
        async with asyncio.timeout(STORE_DEADLINE_S):
            return await call
    except TimeoutError:
        raise StoreUnavailableError from None
