"""The rollout that is under way, in Redis."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from contract import keys
from contract.keys import DEFAULT_KIND
from orchestrator.adapters.redis_client import Client, Scripts, again
from orchestrator.adapters.redis_records import chunks
from orchestrator.domain.rollout import HostProgress, PoolProgress, RolloutView
from orchestrator.records import NO_MORE, RolloutRecord, RolloutState

KEPT_S = 86_400


class RedisRollouts:
    """``ports.Rollouts`` on Redis."""

    def __init__(self, client: Client, *, record_s: float = 86_400) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._record_s = int(record_s)

    async def begin(self, rollout_id: str) -> str:
        """See ``ports.Rollouts``."""
        return str(await self._scripts.again("rollout_begin", [keys.ROLLOUT], [rollout_id, KEPT_S]))

    async def look(self, default_target: int, more: Mapping[str, int] = NO_MORE) -> tuple[str, RolloutView] | None:
        """See ``ports.Rollouts``."""
        own = [keys.ROLLOUT, keys.HOSTS, keys.POOL_TARGET]
        kinds = [part for target in ((DEFAULT_KIND, default_target), *more.items()) for part in target]
        reply = await self._scripts.again("rollout_look", own, kinds)
        if not reply:
            return None
        rollout_id, quiet_s, pools, hosts = reply
        progress = [HostProgress(host, followed == "1", error or "") for host, followed, error in chunks(hosts, 3)]
        rows = [PoolProgress(kind, int(old), int(ready), int(target)) for kind, ready, target, old in chunks(pools, 4)]
        return rollout_id, RolloutView(tuple(progress), tuple(rows), float(quiet_s))

    async def recycle(self, rollout_id: str, count: int, leaving: int, kind: str = DEFAULT_KIND) -> list[str]:
        """See ``ports.Rollouts``."""
        args = [rollout_id, count, leaving, "recycled: its code or settings are older", self._record_s, kind]
        return list(await self._scripts.run("rollout_recycle", [keys.ROLLOUT], args))

    async def note(self, rollout_id: str, state: RolloutState, detail: str) -> bool:
        """See ``ports.Rollouts``."""
        return bool(await self._scripts.again("rollout_note", [keys.ROLLOUT], [rollout_id, state, detail]))

    async def current(self) -> RolloutRecord | None:
        """See ``ports.Rollouts``."""
        fields = {str(k): str(v) for k, v in (await again(lambda: self._client.hgetall(keys.ROLLOUT))).items()}
        if not fields:
            return None
        return RolloutRecord(
            rollout_id=fields["id"],
            state=cast("RolloutState", fields["state"]),
            detail=fields.get("detail", ""),
            recycled=int(fields.get("recycled", "0")),
            started_at=float(fields["startedAt"]),
            ended_at=float(fields["endedAt"]) if "endedAt" in fields else None,
        )
