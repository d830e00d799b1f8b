"""The spawn breaker's state in Redis. What it becomes is decided by ``domain.breaker``, and written by one script."""

from __future__ import annotations

from collections.abc import Mapping

from contract import keys
from orchestrator.adapters.redis_client import Client, Scripts, again
from orchestrator.domain.breaker import Breaker
from orchestrator.records import BreakerView


class RedisBreakers:
    """``ports.Breakers`` on Redis."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._scripts = Scripts(client)

    async def look(self, kind: str) -> BreakerView:
        """See ``ports.Breakers``."""

        async def read() -> tuple[Mapping[str, str], tuple[int, int]]:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.hgetall(keys.breaker(kind))
                pipe.time()
                fields, time = await pipe.execute()
                return fields, time

        fields, (seconds, micros) = await again(read)
        return BreakerView(_breaker_of(fields), int(fields.get("version", 0)), float(seconds) + float(micros) / 1e6)

    async def change(self, kind: str, version: int, after: Breaker) -> bool:
        """See ``ports.Breakers``."""
        times = (f"{after.since:.6f}", f"{after.open_until:.6f}")
        args = [version, after.failures, after.opened, *times, after.code, after.reason]
        return bool(await self._scripts.run("change_breaker", [keys.breaker(kind)], args))


def _breaker_of(fields: Mapping[str, str]) -> Breaker:
    return Breaker(
        failures=int(fields.get("failures", 0)),
        opened=int(fields.get("opened", 0)),
        since=float(fields.get("since", 0)),
        open_until=float(fields.get("openUntil", 0)),
        code=fields.get("code", ""),
        reason=fields.get("reason", ""),
    )
