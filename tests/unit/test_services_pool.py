"""Keeping the pool: each action performed, its size, and what is reaped."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_breakers import RedisBreakers
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain import pool
from orchestrator.domain.breaker import Breaker
from orchestrator.domain.demand import DemandPolicy
from orchestrator.domain.errors import InvalidRequestError
from orchestrator.records import Limits
from orchestrator.services.pool import KeepPool, ReapAges
from tests.support.fakes import FakeTaskQueue, fake_client
from tests.support.invariants import check_everything
from tests.support.records import LIMITS, agent_record, beat, claimed, cold_id, identity, start_request, warm, warm_id

S = SessionState
NEVER = ReapAges(assign_lease_s=3600, inactive_s=3600, warm_max_age_s=3600, record_s=86_400)


@dataclass
class Scene:
    client: Client
    queue: FakeTaskQueue = field(default_factory=FakeTaskQueue)

    def __post_init__(self) -> None:
        self.store, self.hosts = RedisStore(self.client), RedisHosts(self.client)

    def pool(self, limits: Limits = LIMITS, ages: ReapAges = NEVER, target: int = 3, **more: Any) -> KeepPool:
        return KeepPool(self.store, self.hosts, self.queue, limits, ages, default_target=target, **more)

    async def state(self, session_id: str) -> SessionState:
        session = await self.store.get(session_id)
        assert session is not None
        return session.state


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    client = fake_client()
    scene = Scene(client)
    await beat(scene.hosts)
    yield scene
    await check_everything(client)
    await client.aclose()


async def test_a_refill_spawns_what_is_missing(scene: Scene) -> None:
    await warm(scene.store, 1)
    assert await scene.pool().refill() == [pool.SpawnWarm()] * 2
    assert len(scene.queue.spawned) == 2
    assert all(i.startswith("prewarm_") and not urgent for i, urgent in scene.queue.spawned)
    assert await scene.pool().refill() == [], "those under way count"
    for session_id, _ in scene.queue.spawned:
        await scene.store.record_agent(agent_record(session_id))
    counts = await scene.store.counts(0)
    assert (counts.pool_ready, counts.warming) == (3, 0)
    assert counts.last_refill_at is not None


async def test_a_refill_looks_again_while_a_user_joins(scene: Scene) -> None:
    await beat(scene.hosts, processors=2.0)
    await warm(scene.store, 1, 2, 3)
    claim = await claimed(scene.store, "a")
    slept: list[float] = []

    async def join(seconds: float) -> None:
        slept.append(seconds)
        await scene.pool().trigger()
        assert scene.queue.refills == 0, "one is under way"
        assert scene.queue.spawned == []
        if len(slept) == 2:
            await scene.store.mark_active(claim.session_id)

    assert await scene.pool(sleep=join).refill() == [pool.SpawnWarm()]
    assert slept == [pool.LOOK_AGAIN_S] * 2
    assert len(scene.queue.spawned) == 1


async def test_two_refills_of_one_snapshot_spawn_no_more(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    stale = await scene.store.snapshot()

    async def snapshot(*_: object) -> pool.PoolSnapshot:
        return stale

    monkeypatch.setattr(scene.store, "snapshot", snapshot)
    await scene.pool().refill()
    await scene.pool().refill()
    assert len(scene.queue.spawned) == 3
    assert (await scene.store.counts(0)).warming == 3


async def test_who_waited_is_dispatched_at_the_front(scene: Scene) -> None:
    tight = replace(LIMITS, max_agents=1)
    await warm(scene.store, 1)
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", tight)
    assert await scene.pool(tight, target=1).refill() == [pool.Retire(1)]
    assert await scene.pool(tight, target=1).refill() == [pool.Dispatch(cold_id(1))]
    assert scene.queue.spawned == [(cold_id(1), True)]
    assert await scene.state(warm_id(1)) is S.ENDED


async def test_an_overdue_spawn_is_queued_again_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.store.reserve_warm(warm_id(1), 1, LIMITS)
    await scene.store.begin_spawn(warm_id(1), -1)
    stale = await scene.store.snapshot()

    async def snapshot(*_: object) -> pool.PoolSnapshot:
        return stale

    monkeypatch.setattr(scene.store, "snapshot", snapshot)
    for _ in range(2):
        assert await scene.pool(target=1).refill() == [pool.Respawn(warm_id(1))]
    assert scene.queue.spawned == [(warm_id(1), True)], "two refills at once do not queue it twice"


async def test_a_spawn_without_a_try_left_is_failed(scene: Scene) -> None:
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    for _ in range(3):
        await scene.store.begin_spawn(cold_id(1), -1)
    await scene.pool(target=0).refill()
    session = await scene.store.get(cold_id(1))
    assert session is not None
    assert (session.state, session.error_code) == (S.FAILED, "spawn_failed")
    assert session.error == "no agent came in 3 tries"
    assert (await scene.store.spawn_stats()).failures == {"spawn_timeout": 1}


async def test_who_waited_too_long_for_spawns_that_keep_failing_is_failed(scene: Scene) -> None:
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    now = await scene.store.now()
    breaker = Breaker(opened=4, since=now - 60, open_until=now + 60, code="zygote_unavailable", reason="no such module")
    assert await RedisBreakers(scene.client).change("default", 0, breaker)
    assert await scene.store.hold_spawn(cold_id(1), "why", failed=True)
    assert await scene.pool(target=0).refill() == [], "it has only come"
    await scene.client.zadd(keys.POOL_WAITING, {cold_id(1): now - 60})
    await scene.pool(target=0).refill()
    session = await scene.store.get(cold_id(1))
    assert session is not None
    assert (session.state, session.error_code) == (S.FAILED, "spawn_failed")
    assert session.error == "agents could not be started: spawns kept failing"
    assert await scene.pool(target=0).refill() == []


async def test_nobody_is_turned_away_or_taken_for_gone_whose_spawn_was_begun_meanwhile(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two refills go on at once, and this one looked before the other one acted."""
    both = (cold_id(1), cold_id(2))
    for session_id in both:
        await scene.store.reserve_cold(start_request(session_id), session_id, "t", LIMITS)
    for session_id in both:
        assert await scene.store.hold_spawn(session_id, "why", failed=True)
    now = await scene.store.now()
    waiting = (pool.Waiting(both[0], now - 60, now), pool.Waiting(both[1], now - 60, now - 60))
    kind = pool.KindSnapshot(may_begin=0, failing_since=now - 60)
    stale = pool.PoolSnapshot({keys.DEFAULT_KIND: kind}, 0, (), waiting)

    async def snapshot(*_: object) -> pool.PoolSnapshot:
        return stale

    monkeypatch.setattr(scene.store, "snapshot", snapshot)
    for session_id in both:
        assert await scene.store.dispatch(session_id, LIMITS)
    with capture_logs() as lines:
        actions = await scene.pool(target=0).refill()
    assert {type(action) for action in actions} == {pool.Abandon, pool.TurnAway}
    assert [await scene.state(session_id) for session_id in both] == [S.STARTING, S.STARTING]
    assert [line for line in lines if line["log_level"] == "error"] == []


async def test_an_agent_that_came_late_is_not_given_up(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    for _ in range(3):
        await scene.store.begin_spawn(cold_id(1), -1)
    stale = await scene.store.snapshot()
    await scene.store.record_agent(agent_record(cold_id(1)))

    async def snapshot(*_: object) -> pool.PoolSnapshot:
        return stale

    monkeypatch.setattr(scene.store, "snapshot", snapshot)
    assert isinstance((await scene.pool(target=0).refill())[0], pool.GiveUp)
    assert await scene.state(cold_id(1)) is S.ASSIGNED
    assert (await scene.store.spawn_stats()).failures == {}


async def test_who_went_away_gives_up_the_place(scene: Scene) -> None:
    tight = replace(LIMITS, max_agents=1)
    await warm(scene.store, 1)
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", tight)
    await scene.client.zadd("pool:waiting", {cold_id(1): 1})
    await scene.client.hset(f"session:{cold_id(1)}", "lastSeenAt", "1")
    assert await scene.pool(tight, target=1).refill() == [pool.Abandon(cold_id(1))]
    assert await scene.state(cold_id(1)) is S.ENDED
    assert await scene.state(warm_id(1)) is S.READY


async def test_a_smaller_pool(scene: Scene) -> None:
    await warm(scene.store, 1, 2, 3)
    assert await scene.pool().resize(1) == 3
    assert scene.queue.refills == 1
    assert await scene.pool().refill() == [pool.Retire(2)]
    assert (await scene.store.counts(0)).pool_ready == 1
    assert await scene.pool().resize(2) == 1


@pytest.mark.parametrize("size", [0, 10])
async def test_sizes_up_to_the_most(scene: Scene, size: int) -> None:
    await scene.pool().resize(size)
    assert (await scene.store.counts(3)).floor == size


@pytest.mark.parametrize("size", [-1, 11])
async def test_sizes_beyond(scene: Scene, size: int) -> None:
    with pytest.raises(InvalidRequestError, match=r"size.*MAX_BOTS \(10\)"):
        await scene.pool().resize(size)
    assert (await scene.store.counts(3)).floor == 3
    assert scene.queue.refills == 0


async def test_arrivals_raise_the_target_and_it_stays_for_the_delay(scene: Scene) -> None:
    limits = replace(LIMITS, max_agents=100, spawn_concurrency=50)
    for number in range(1, 31):  # thirty starts in a minute, each agent taking four seconds: two on their way
        await scene.store.reserve_cold(start_request(), cold_id(number), "t", limits)
        await scene.store.record_agent(agent_record(cold_id(number), who=identity(pid=number), startup_s=4.0))
    demand = DemandPolicy(cap=20, delay_s=300)
    raised = KeepPool(scene.store, scene.hosts, scene.queue, limits, NEVER, default_target=3, demand=demand)
    actions = await raised.refill()
    assert len(actions) in {6, 7}, "1 + the 99 % quantile of Poisson(1.7 to 2.0)"
    assert set(actions) == {pool.SpawnWarm()}
    await scene.client.delete(keys.POOL_ARRIVALS)
    assert await raised.refill() == [], "nobody comes any more, and it stands"
    await scene.client.delete(keys.POOL_DEMAND)
    for session_id, _ in scene.queue.spawned:
        await scene.store.record_agent(agent_record(session_id))
    assert await raised.refill() == [pool.Retire(len(actions) - 3)]
    assert await scene.client.get(keys.POOL_AIM) == "3"


async def test_without_a_cap_the_floor_alone_counts(scene: Scene) -> None:
    for number in range(1, 6):
        await scene.store.reserve_cold(start_request(), cold_id(number), "t", LIMITS)
        await scene.store.record_agent(agent_record(cold_id(number), who=identity(pid=number), startup_s=40.0))
    assert await scene.pool(target=0).refill() == []


async def test_one_trigger_while_a_refill_is_on_its_way(scene: Scene) -> None:
    await scene.pool().trigger()
    await scene.pool().trigger()
    assert scene.queue.refills == 1
    await scene.pool().refill()
    await scene.pool().trigger()
    assert scene.queue.refills == 2


async def test_reap(scene: Scene) -> None:
    await warm(scene.store, 1, 2, 3, 4)
    unclaimed, active = (await claimed(scene.store)).session_id, (await claimed(scene.store)).session_id
    await scene.store.mark_active(active)
    await scene.store.refill_begun()
    assert await scene.pool().reap() == []
    assert scene.queue.refills == 0

    ages = ReapAges(assign_lease_s=0, inactive_s=0, warm_max_age_s=0, record_s=86_400)
    ended = await scene.pool(ages=ages).reap()
    assert {e.session_id: e.state for e in ended} | {"warm": S.READY} == {
        unclaimed: S.ASSIGNED, active: S.ACTIVE, ended[-1].session_id: S.READY, "warm": S.READY,
    }  # fmt: skip
    assert [await scene.state(end.session_id) for end in ended] == [S.ENDED] * 3
    assert (await scene.store.counts(0)).pool_ready == 1, "half of the old ones at a time"
    assert scene.queue.refills == 1


async def test_one_that_was_claimed_meanwhile_is_not_reaped(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    await warm(scene.store, 1)
    stale = await scene.store.aging(0, 0, -1)
    assert stale.pools == (pool.AgedPool((warm_id(1),), 1),)
    await claimed(scene.store)

    async def aging(*_: float) -> pool.Aging:
        return stale

    monkeypatch.setattr(scene.store, "aging", aging)
    assert await scene.pool().reap() == []
    assert await scene.state(warm_id(1)) is S.ASSIGNED


async def test_reap_forgets_what_ended_long_ago(scene: Scene) -> None:
    await warm(scene.store, 1)
    await scene.store.finish(warm_id(1), S.ENDED, "x")
    await scene.pool(ages=replace(NEVER, record_s=-1)).reap()
    assert (await scene.store.counts(0)).by_state[S.ENDED] == 0
    await scene.client.delete(f"session:{warm_id(1)}")


async def test_checks_go_to_living_hosts(scene: Scene) -> None:
    await beat(scene.hosts, "host-2")
    await beat(scene.hosts, "host-3", lease_s=-1)
    assert await scene.pool().check_hosts() == ["host-1", "host-2"] == scene.queue.checked


async def test_the_check_says_how_full_the_hosts_are(scene: Scene) -> None:
    await warm(scene.store, 1, 2, 3)
    await claimed(scene.store)
    with capture_logs() as lines:
        await scene.pool(replace(LIMITS, max_agents=4)).check_hosts()
    (line,) = [line for line in lines if line["event"] == "pool"]
    said = {name: line[name] for name in ("ready", "starting", "calls", "queued", "capacity", "busy_percent", "hosts")}
    assert said == {
        "ready": 2, "starting": 0, "calls": 1, "queued": 0, "capacity": 4, "busy_percent": 25.0, "hosts": 1
    }  # fmt: skip


async def test_the_check_counts_all_kinds(scene: Scene) -> None:
    await beat(scene.hosts, kinds="default,sales")
    await warm(scene.store, 1)
    await scene.store.record_agent(replace(agent_record(warm_id(2), who=identity(pid=2)), kind="sales"))
    assert await scene.store.reserve_warm(warm_id(3), 2, LIMITS, "sales")
    with capture_logs() as lines:
        await scene.pool(more={"sales": 2}).check_hosts()
    (line,) = [line for line in lines if line["event"] == "pool"]
    assert (line["ready"], line["starting"], line["queued"]) == (2, 1, 0)


async def test_without_a_host_there_is_no_capacity(scene: Scene) -> None:
    await beat(scene.hosts, lease_s=-1)
    with capture_logs() as lines:
        assert await scene.pool().check_hosts() == []
    assert [(line["hosts"], line["capacity"], line["busy_percent"]) for line in lines] == [(0, 0, 100.0)]
