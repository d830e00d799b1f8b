"""Recycle the agents that wait, a few at a time, for changed code or settings. Policy decides; this performs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping

import structlog

from orchestrator.domain import rollout
from orchestrator.ports import Hosts, Rollouts, SessionStore
from orchestrator.records import NO_MORE, RolloutRecord
from orchestrator.services.pool import KeepPool

log = structlog.get_logger("greenroom.rollout")


class RollOut:
    """The use cases behind ``greenroom rollout`` and its task."""

    def __init__(
        self,
        rollouts: Rollouts,
        hosts: Hosts,
        store: SessionStore,
        pool: KeepPool,
        *,
        default_target: int,
        more: Mapping[str, int] = NO_MORE,
    ) -> None:
        self._rollouts = rollouts
        self._hosts = hosts
        self._store = store
        self._pool = pool
        self._default_target = default_target
        self._more = more
        self._policy = rollout.RolloutPolicy()

    async def begin(self) -> tuple[RolloutRecord, bool]:
        """Begin one, unless one is under way; returns it, and whether it is a new one.

        Raises:
            StoreUnavailableError: Redis is away.
        """
        mine = secrets.token_hex(8)
        began = await self._rollouts.begin(mine) == mine
        if began:
            log.info("rollout begins", rollout=mine)
            await self.advance()
        record = await self._rollouts.current()
        assert record is not None  # noqa: S101 - it was there a moment ago, and stays for a day
        return record, began

    async def current(self) -> RolloutRecord | None:
        """The last one; None when there was none for a day."""
        return await self._rollouts.current()

    async def advance(self) -> rollout.Step | None:
        """Do the next step of the one that is under way; None when there is none. Twice at once does no harm."""
        found = await self._rollouts.look(self._default_target, self._more)
        if found is None:
            return None
        rollout_id, view = found
        step = rollout.step(view, self._policy)
        await self._perform(rollout_id, step)
        return step

    async def _perform(self, rollout_id: str, step: rollout.Step) -> None:
        match step:
            case rollout.Tell(hosts):
                for host in hosts:
                    await self._hosts.load_anew(host, rollout_id)
                await self._rollouts.note(rollout_id, "running", f"{', '.join(hosts)}: loading")
            case rollout.Recycle(count, leaving, kind):
                recycled = await self._rollouts.recycle(rollout_id, count, leaving, kind)
                log.info("recycled", rollout=rollout_id, kind=kind, count=len(recycled))
                await self._rollouts.note(rollout_id, "running", "the pool fills up again")
                await self._pool.trigger()
            case rollout.Wait(what):
                await self._rollouts.note(rollout_id, "running", what)
            case rollout.Done():
                if await self._rollouts.note(rollout_id, "done", "every agent that waits is new"):
                    log.info("rollout is done", rollout=rollout_id)
            case rollout.Fail(reason):
                await self._fail(rollout_id, reason)

    async def _fail(self, rollout_id: str, reason: str) -> None:
        failures = (await self._store.spawn_stats()).failures
        if failures and "pool" in reason:
            reason += (
                f" (spawns that failed so far: {', '.join(f'{n} {code}' for code, n in sorted(failures.items()))})"
            )
        if await self._rollouts.note(rollout_id, "failed", reason):
            log.error("rollout failed", rollout=rollout_id, reason=reason)
