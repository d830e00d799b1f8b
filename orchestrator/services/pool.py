"""Keep the pool: refill it, resize it, reap what is stale. Policy decides; this performs."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

import structlog

from contract.keys import DEFAULT_KIND
from contract.states import SessionState
from orchestrator.domain import pool
from orchestrator.domain.capacity import busy_percent
from orchestrator.domain.demand import DemandPolicy, aim
from orchestrator.domain.errors import InvalidRequestError
from orchestrator.ports import HostRegistry, SessionStore, TaskQueue
from orchestrator.records import NO_MORE, Counts, Limits

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
        more: Mapping[str, int] = NO_MORE,
        demand: DemandPolicy = ONLY_THE_FLOOR,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._store = store
        self._registry = registry
        self._queue = queue
        self._limits = limits
        self._ages = ages
        self._default_target = default_target
        self._more = more
        """The kinds beside the default one, and what their pools' sizes are where nobody set them."""
        self._demand = demand
        self._sleep = sleep

    async def refill(self) -> list[pool.Action]:
        """Bring each kind's pool nearer to its target; returns what was done.

        Two at once do no harm: each reservation is checked again where it is made. Where users join first, it waits for
        them here and not in a message for later, which another machine's clock would time; one refill does.
        """
        done: list[pool.Action] = []
        while (actions := await self._refill_once()) and pool.LookAgain() in actions:
            done += [action for action in actions if action != pool.LookAgain()]
            if not await self._store.refill_due():
                return done
            await self._sleep(pool.LOOK_AGAIN_S)
        return done + actions

    async def _refill_once(self) -> list[pool.Action]:
        await self._store.refill_begun()
        counts = await self._store.counts(self._default_target, self._more)
        policy = pool.PoolPolicy(await self._aims(counts), self._limits.max_agents, self._limits.spawn_concurrency)
        snapshot = await self._store.snapshot(self._more.keys())
        actions = pool.plan(snapshot, policy, await self._store.now())
        for action in actions:
            await self._perform(action, policy, snapshot)
        return actions

    async def _aims(self, counts: Counts) -> dict[str, pool.KindPolicy]:
        """What each kind's pool goes by now; it is noted, too."""
        found = {}
        for kind, of_kind in counts.kinds.items():
            most = self._limits.most_of.get(kind)
            now = aim(of_kind.floor, of_kind.measured, self._demand, most)
            await self._store.note_demand(now.expected, self._demand.delay_s, now.target, kind)
            found[kind] = pool.KindPolicy(now.target, most)
        return found

    async def trigger(self) -> None:
        """Queue a refill, unless one is on its way."""
        if await self._store.refill_due():
            await self._queue.refill()

    async def resize(self, size: int, kind: str = DEFAULT_KIND) -> int:
        """Set the floor of a kind's pool and begin to move towards it; returns the previous one.

        Raises:
            InvalidRequestError: negative, more than this kind may have, or more than the other floors leave of
                ``MAX_BOTS``.
        """
        floors = {DEFAULT_KIND: self._default_target, **self._more}
        if kind not in floors:
            raise InvalidRequestError(f"agent: there is no kind of this name: {kind}")
        await self._check_size(size, kind)
        previous = await self._store.set_target(size, floors[kind], kind)
        await self._queue.refill()
        return previous

    async def _check_size(self, size: int, kind: str) -> None:
        most, own = self._limits.max_agents, self._limits.most(kind)
        if own < most and size > own:
            raise InvalidRequestError(f"size: should be from 0 to the most of {kind} ({own}), not {size}")
        taken = 0
        if self._more:
            counts = await self._store.counts(self._default_target, self._more)
            taken = counts.floor - counts.kinds[kind].floor
        if not 0 <= size <= most - taken:
            beside = f" less the {taken} of other kinds" if taken else ""
            raise InvalidRequestError(f"size: should be from 0 to MAX_BOTS ({most}){beside}, not {size}")

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
        counts = await self._store.counts(self._default_target, self._more)
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
            case pool.SpawnWarm(kind):
                is_try = snapshot.kinds[kind].may_begin is not None
                await self._warm(kind, self._limits.max_agents if is_try else policy.kinds[kind].target, is_try=is_try)
            case pool.Dispatch(session_id, kind):
                if await self._store.dispatch(session_id, self._limits, kind):
                    await self._queue.spawn(session_id, urgent=True, kind=kind)
            case pool.Respawn(session_id, kind):
                await self._respawn(session_id, kind)
            case pool.GiveUp():
                await self._give_up(action)
            case pool.Abandon(session_id):
                why = "its caller went away"
                await self._store.finish(session_id, SessionState.ENDED, why, waiting=True)
            case pool.TurnAway(session_id, reason):
                failed = SessionState.FAILED
                if (await self._store.finish(session_id, failed, reason, code="spawn_failed", waiting=True)).changed:
                    log.error("user turned away", session_id=session_id, reason=reason)
            case pool.Retire(count, kind):
                # Another refill may have seen the same pool: together they retire no more than one would.
                leaving = snapshot.kinds[kind].ready - count
                retired = await self._store.retire(count, "the pool is smaller now", leaving=leaving, kind=kind)
                log.info("retired", count=len(retired), kind=kind)

    async def _respawn(self, session_id: str, kind: str) -> None:
        if await self._store.respawn(session_id, self._limits.spawn_deadline_s):
            await self._queue.spawn(session_id, urgent=True, kind=kind)
            log.warning("spawn came to no end; queued again", session_id=session_id)

    async def _warm(self, kind: str, most: int, *, is_try: bool) -> None:
        session_id = f"prewarm_{secrets.token_hex(16)}"
        if await self._store.reserve_warm(session_id, most, self._limits, kind):
            if is_try:
                log.info("spawns kept failing: one is tried", session_id=session_id, kind=kind)
            await self._queue.spawn(session_id, urgent=False, kind=kind)

    async def _give_up(self, action: pool.GiveUp) -> None:
        """Unless its agent came meanwhile, or another refill gave it up."""
        session_id, reason, failed = action.session_id, action.reason, SessionState.FAILED
        done = await self._store.finish(session_id, failed, reason, code="spawn_failed", without_agent=True)
        if done.changed:
            if done.previous is not SessionState.STARTING:
                # Its user is in the room without an agent: the worker that finds it over closes it.
                await self._queue.spawn(session_id, urgent=True, kind=action.kind)
            await self._store.count_spawn_failure(action.code)
            log.error("spawn given up", session_id=session_id, reason=reason)
