"""Which of LiveKit's webhooks were acted on, in Redis: any API may be sent the same one again."""

from __future__ import annotations

from contract import keys
from orchestrator.adapters.redis_client import Client, translated

KEEP_S = 400
"""Above the six minutes for which LiveKit's signature is taken for good: five, and a minute for clocks that differ."""


class RedisWebhooks:
    """``ports.Webhooks`` on Redis."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def is_new(self, event_id: str) -> bool:
        """See ``ports.Webhooks``."""
        with translated():
            return await self._client.zscore(keys.WEBHOOKS, event_id) is None

    async def acted_on(self, event_id: str) -> None:
        """See ``ports.Webhooks``."""
        with translated():
            seconds, _ = await self._client.time()
            async with self._client.pipeline() as pipe:
                pipe.zadd(keys.WEBHOOKS, {event_id: seconds})
                pipe.zremrangebyscore(keys.WEBHOOKS, "-inf", seconds - KEEP_S)
                pipe.expire(keys.WEBHOOKS, KEEP_S)
                await pipe.execute()
