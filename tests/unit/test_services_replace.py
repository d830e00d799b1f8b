"""Replacing agents and losing hosts: what is queued, and when again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import QueueUnavailableError
from orchestrator.records import Death
from tests.support.fakes import FakeTaskQueue, fake_client, replacer
from tests.support.invariants import check_everything
from tests.support.records import HOST, LIMITS, agent_record, beat, claimed, identity, warm, warm_id

S = SessionState
ID = warm_id(1)
AGENT = identity(pid=1)


@dataclass
class Scene:
    client: Client
    queue: FakeTaskQueue = field(default_factory=FakeTaskQueue)

    def __post_init__(self) -> None:
        self.store, self.hosts = RedisStore(self.client), RedisHosts(self.client)
        self.replacer = replacer(self.store, self.hosts, self.queue)

    async def in_call(self) -> None:
        await warm(self.store, 1)
        await claimed(self.store)
        await self.store.mark_active(ID)

    async def died(self, pid: int = 1) -> Death:
        return await self.replacer.agent_died(ID, identity(pid=pid), "it died", "agent_died")

    async def silent_for(self, seconds: float, host: str = HOST, *, suspected_for: float | None = None) -> None:
        now = await self.store.now()
        await self.client.hset(keys.host(host), "heartbeatAt", f"{now - seconds:.6f}")
        if suspected_for is not None:
            await self.client.hset(keys.host(host), "suspectAt", f"{now - suspected_for:.6f}")

    async def overdue(self) -> None:
        await self.client.zadd(keys.POOL_SPAWNING, {ID: await self.store.now() - 1})


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    client = fake_client()
    scene = Scene(client)
    await beat(scene.hosts)
    yield scene
    await check_everything(client)
    await client.aclose()


async def test_a_death_in_a_call_queues_a_spawn_at_the_front(scene: Scene) -> None:
    await scene.in_call()
    assert await scene.died() is Death.REPLACED
    assert scene.queue.spawned == [(ID, True)]


async def test_a_death_outside_a_call_queues_none(scene: Scene) -> None:
    await warm(scene.store, 1)
    assert await scene.died() is Death.FAILED
    assert await scene.died() is Death.OVER
    assert scene.queue.spawned == []


async def test_what_could_not_be_queued_is_queued_when_it_is_said_again(scene: Scene) -> None:
    await scene.in_call()
    scene.queue.error = QueueUnavailableError()
    with pytest.raises(QueueUnavailableError):
        await scene.died()
    scene.queue.error = None
    assert await scene.died() is Death.REPLACED
    assert scene.queue.spawned == [(ID, True)]
    await scene.store.begin_spawn(ID, 20)
    assert await scene.died() is Death.UNDER_WAY
    assert scene.queue.spawned == [(ID, True)]


async def test_a_look_at_living_hosts_does_nothing(scene: Scene) -> None:
    await scene.in_call()
    assert await scene.replacer.look() == []
    assert (await scene.hosts.hosts())[0].suspect_at is None


async def test_a_silent_host_is_suspected_first(scene: Scene) -> None:
    await scene.in_call()
    await scene.silent_for(60)
    assert await scene.replacer.look() == []
    [view] = await scene.hosts.hosts()
    assert view.suspect_at is not None
    assert await scene.replacer.look() == [], "it may only just have come back with the store"
    assert (await scene.store.get(ID)).agent == AGENT  # type: ignore[union-attr]


async def test_a_lost_host_loses_its_sessions_once(scene: Scene) -> None:
    await scene.in_call()
    await warm(scene.store, 2)
    await scene.silent_for(11, suspected_for=5)
    await scene.store.refill_begun()

    assert await scene.replacer.look() == [ID]
    assert scene.queue.spawned == [(ID, True)]
    assert scene.queue.refills == 1
    failed = await scene.store.get(warm_id(2))
    assert failed is not None
    assert (failed.state, failed.error_code) == (S.FAILED, "host_lost")

    assert await scene.replacer.look() == []
    assert scene.queue.spawned == [(ID, True)]


async def test_a_host_that_is_gone_is_forgotten(scene: Scene) -> None:
    await beat(scene.hosts, "gone")
    await scene.client.delete(keys.host("gone"))
    assert await scene.replacer.look() == []
    assert await scene.client.smembers(keys.HOSTS) == {HOST}


async def test_a_host_whose_record_is_gone_but_not_its_sessions_is_suspected_and_lost(scene: Scene) -> None:
    """All was away for an hour, and the hosts came back with other ids."""
    await scene.in_call()
    await warm(scene.store, 2)
    await scene.client.delete(keys.host(HOST))
    await beat(scene.hosts, "new")
    for _ in range(3):
        assert await scene.replacer.look() == [], "it may only just have come back with the store"
    [view] = [view for view in await scene.hosts.hosts() if view.host == HOST]
    assert view.suspect_at is not None
    assert (await scene.store.get(ID)).agent == AGENT  # type: ignore[union-attr]

    await scene.silent_for(600, suspected_for=5)
    assert await scene.replacer.look() == [ID]
    failed = await scene.store.get(warm_id(2))
    assert failed is not None
    assert (failed.state, failed.error_code) == (S.FAILED, "host_lost")
    counts = await scene.store.counts(3)
    assert (counts.pool_ready, counts.agents) == (0, 1), "the call's, which is on its way"
    assert [view.host for view in await scene.hosts.hosts()] == ["new"]
    assert await scene.client.smembers(keys.HOSTS) == {"new"}


async def test_a_replacement_that_nobody_began_is_queued_again_once(scene: Scene) -> None:
    await scene.in_call()
    await scene.died()
    assert await scene.replacer.look() == [], "it is not due yet"
    await scene.overdue()
    assert await scene.replacer.look() == [ID]
    assert await scene.replacer.look() == []
    assert scene.queue.spawned == [(ID, True)] * 2


async def test_one_that_was_begun_is_left_to_refills(scene: Scene) -> None:
    await scene.in_call()
    await scene.died()
    await scene.store.begin_spawn(ID, 20)
    await scene.overdue()
    assert await scene.replacer.look() == []


async def test_spawns_of_new_sessions_are_left_to_refills(scene: Scene) -> None:
    await scene.store.reserve_warm(ID, 5, LIMITS)
    await scene.overdue()
    assert await scene.replacer.look() == []


async def test_the_successor_may_die_too(scene: Scene) -> None:
    await scene.in_call()
    for pid in (1, 2):
        assert await scene.died(pid) is Death.REPLACED
        await scene.store.record_agent(agent_record(ID, who=identity(pid=pid + 1)))
    assert await scene.died(3) is Death.FAILED
    assert len(scene.queue.spawned) == 2
