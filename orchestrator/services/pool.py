"""Keep the pool: refill it, resize it, reap what is stale. Policy decides; this performs."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import structlog

from contract.states import SessionState
from orchestrator.domain import pool
from orchestrator.domain.capacity import busy_percent
from orchestrator.domain.demand import DemandPolicy, aim
from orchestrator.domain.errors import InvalidRequestError
from orchestrator.ports import HostRegistry, SessionStore, TaskQueue
from orchestrator.records import Limits

log = structlog.get_logger("greenroom.pool")

ONLY_THE_FLOOR = DemandPolicy(cap=0)


@dataclass(frozen=True)
class ReapAges:
    """How old things may become, in seconds."""

    assign_lease_s: float
    inactive_s: float
    warm_max_age_s: float
    record_s: float


class KeepPool:
    """The use cases behind the maintenance tasks and the resize call."""

    def __init__(
        self,
        store: SessionStore,
        registry: HostRegistry,
        queue: TaskQueue,
        limits: Limits,
        ages: ReapAges,
        *,
        default_target: int,
        demand: DemandPolicy = ONLY_THE_FLOOR,
    ) -> None:
        self._store = store
        self._registry = registry
        self._queue = queue
        self._limits = limits
        self._ages = ages
        self._default_target = default_target
        self._demand = demand

    async def refill(self) -> list[pool.Action]:
        """Bring the pool nearer to its target; returns what was done.

        Two at once do no harm: each reservation is checked again where it is made.
        """
        await self._store.refill_begun()
        counts = await self._store.counts(self._default_target)
        now = aim(counts.floor, counts.measured, self._demand)
        await self._store.note_demand(now.expected, self._demand.delay_s, now.target)
        policy = pool.PoolPolicy(now.target, self._limits.max_agents, self._limits.spawn_concurrency)
        snapshot = await self._store.snapshot()
        actions = pool.plan(snapshot, policy, await self._store.now())
        for action in actions:
            await self._perform(action, policy, snapshot)
        return actions

    async def trigger(self) -> None:
        """Queue a refill, unless one is on its way."""
        if await self._store.refill_due():
            await self._queue.refill()

    async def resize(self, size: int) -> int:
        """Set the pool's floor and begin to move towards it; returns the previous one.

        Raises:
            InvalidRequestError: negative, or more than ``MAX_BOTS``.
        """
        if not 0 <= size <= self._limits.max_agents:
            raise InvalidRequestError(f"size: should be from 0 to MAX_BOTS ({self._limits.max_agents}), not {size}")
        previous = await self._store.set_target(size, self._default_target)
        await self._queue.refill()
        return previous

    async def reap(self) -> list[pool.EndSession]:
        """End what is stale, and forget what ended long ago; returns what was ended."""
        ages = self._ages
        aging = await self._store.aging(ages.assign_lease_s, ages.inactive_s, ages.warm_max_age_s)
        ended = []
        for end in pool.reap(aging):
            # One that moved on since it was read, such as a warm agent that was claimed, is left alone.
            done = await self._store.finish(end.session_id, SessionState.ENDED, end.reason, only_from=[end.state])
            if done.changed:
                ended.append(end)
                log.info("reaped", session_id=end.session_id, reason=end.reason)
        await self._store.forget(ages.record_s)
        if ended:
            await self.trigger()
        return ended

    async def check_hosts(self) -> list[str]:
        """Queue a health check on the queue of each living host, and say how full they are; returns their ids."""
        living = [view.host for view in await self._registry.hosts() if view.alive]
        for host in living:
            await self._queue.check_host(host)
        await self._tell(len(living))
        return living

    async def _tell(self, hosts: int) -> None:
        """One line a minute, for platforms that make their metrics out of logs. Without hosts there is no capacity."""
        counts = await self._store.counts(self._default_target)
        capacity = counts.agents + counts.room(self._limits.max_agents) if hosts else 0
        log.info(
            "pool",
            ready=counts.pool_ready,
            starting=counts.warming,
            calls=counts.calls,
            queued=counts.queued,
            capacity=capacity,
            busy_percent=busy_percent(counts.calls, capacity),
            hosts=hosts,
        )

    async def _perform(self, action: pool.Action, policy: pool.PoolPolicy, snapshot: pool.PoolSnapshot) -> None:
        match action:
            case pool.SpawnWarm():
                session_id = f"prewarm_{secrets.token_hex(16)}"
                most = policy.target if snapshot.may_begin is None else self._limits.max_agents
                if await self._store.reserve_warm(session_id, most, self._limits):
                    await self._begin(session_id, snapshot, urgent=False)
            case pool.Dispatch(session_id):
                if await self._store.dispatch(session_id, self._limits):
                    await self._begin(session_id, snapshot, urgent=True)
            case pool.Respawn(session_id):
                if not await self._store.respawn(session_id, self._limits.spawn_deadline_s):
                    return
                await self._queue.spawn(session_id, urgent=True)
                log.warning("spawn came to no end; queued again", session_id=session_id)
            case pool.GiveUp(session_id, code, reason):
                await self._give_up(session_id, code, reason)
            case pool.Abandon(session_id):
                why = "its caller went away"
                await self._store.finish(session_id, SessionState.ENDED, why, only_from=[SessionState.STARTING])
            case pool.Retire(count):
                # Another refill may have seen the same pool: together they retire no more than one would.
                leaving = snapshot.ready - count
                retired = await self._store.retire(count, "the pool is smaller now", leaving=leaving)
                log.info("retired", count=len(retired))

    async def _give_up(self, session_id: str, code: str, reason: str) -> None:
        """Unless its agent came meanwhile, or another refill gave it up."""
        failed = SessionState.FAILED
        done = await self._store.finish(session_id, failed, reason, code="spawn_failed", without_agent=True)
        if done.changed:
            if done.previous is not SessionState.STARTING:
                # Its user is in the room without an agent: the worker that finds it over closes it.
                await self._queue.spawn(session_id, urgent=True)
            await self._store.count_spawn_failure(code)
            log.error("spawn given up", session_id=session_id, reason=reason)

    async def _begin(self, session_id: str, snapshot: pool.PoolSnapshot, *, urgent: bool) -> None:
        if snapshot.may_begin is not None:
            log.info("spawns kept failing: one is tried", session_id=session_id)
        await self._queue.spawn(session_id, urgent=urgent)
