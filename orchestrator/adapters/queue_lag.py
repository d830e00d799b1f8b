"""How long the workers' queues are, and how long the first in each has waited. Knows how kombu keeps them in Redis."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from contract import keys
from orchestrator.adapters.celery_queue import QUEUED_AT, shared_names
from orchestrator.adapters.redis_client import Client, again
from orchestrator.domain.voice import QueueLag

WAITING = "waiting"
"""Users' sessions for which there is no capacity: not a queue of messages yet."""


class RedisQueues:
    """Looks at the queues; changes nothing."""

    def __init__(self, client: Client, kinds: Sequence[str]) -> None:
        self._client = client
        self._queues = shared_names(kinds)

    async def lags(self) -> list[QueueLag]:
        """Every queue that workers share, and the sessions that wait for capacity.

        Raises:
            StoreUnavailableError: Redis does not answer.
        """

        async def read() -> Sequence[Any]:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.time()
                for queue in self._queues:
                    pipe.llen(queue)
                    pipe.lindex(queue, -1)  # kombu puts at the head and takes from the tail
                pipe.zcard(keys.POOL_WAITING)
                pipe.zrange(keys.POOL_WAITING, 0, 0, withscores=True)
                return await pipe.execute()

        (seconds, micros), *rows = await again(read)
        now = seconds + micros / 1e6
        found = [QueueLag(queue, rows[2 * at], _age_s(rows[2 * at + 1], now)) for at, queue in enumerate(self._queues)]
        since = float(rows[-1][0][1]) if rows[-1] else now
        return [*found, QueueLag(WAITING, rows[-2], max(0.0, now - since))]


def _age_s(message: str | None, now: float) -> float:
    """Since this message was queued; 0 for one that does not say, as beat's do not."""
    try:
        queued_at = json.loads(message or "{}")["headers"][QUEUED_AT]
        return max(0.0, now - float(queued_at))
    except (ValueError, KeyError, TypeError):
        return 0.0
