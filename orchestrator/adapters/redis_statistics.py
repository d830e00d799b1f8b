"""What was measured, in bounded lists of Redis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from contract import keys
from contract.keys import DEFAULT_KIND
from orchestrator.adapters.redis_client import Client, Scripts, again
from orchestrator.adapters.redis_records import samples_of
from orchestrator.records import NO_MORE, Sample

SAMPLE_EVERY_S = 5
SAMPLES_KEPT = 720
"""One hour."""
LATELY_S = 60
"""How far back the latencies in a sample go: in five seconds there are too few for a percentile."""
SPAWNS_COUNTED = 20


class RedisStatistics:
    """``ports.Statistics`` on Redis."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._scripts = Scripts(client)

    async def note_starts(self, warm: int, cold: int, took_ms: Sequence[float]) -> None:
        """See ``ports.Statistics``."""
        own = [keys.STATS_STARTS, keys.STATS_START_RECENT]
        await self._scripts.run("note_starts", own, [warm, cold, *(f"{ms:.3f}" for ms in took_ms)])

    async def sample(self, default_target: int, more: Mapping[str, int] = NO_MORE) -> bool:
        """See ``ports.Statistics``."""
        own = [
            keys.STATS_SAMPLES, keys.STATS_SAMPLED, keys.STATS_STARTS, keys.STATS_START_RECENT,
            keys.STATS_REFILL_RECENT, keys.STATS_VACANCIES, keys.POOL_TARGET,
            keys.POOL_AIM,
        ]  # fmt: skip
        kinds = [part for target in ((DEFAULT_KIND, default_target), *more.items()) for part in target]
        args = [SAMPLE_EVERY_S, SAMPLES_KEPT, LATELY_S, SPAWNS_COUNTED, *kinds]
        return bool(await self._scripts.again("sample", own, args))

    async def samples(self, newest: int) -> list[Sample]:
        """See ``ports.Statistics``."""
        lines = await again(lambda: self._client.lrange(keys.STATS_SAMPLES, -newest, -1))
        return samples_of([str(line) for line in lines])
