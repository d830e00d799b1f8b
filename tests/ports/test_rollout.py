"""The store's part of a rollout: what is older, what is ended, and that there is one at a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_rollout import RedisRollouts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.rollout import HostProgress, PoolProgress
from tests.support.records import HOST, LIMITS, agent_record, beat, claimed, host_report, warm_id


@pytest.fixture
def rollouts(client: Client) -> RedisRollouts:
    return RedisRollouts(client)


async def host_is_at(hosts: RedisHosts, generation: str, rollout: str = "", error: str = "") -> None:
    report = replace(host_report(), generation=generation, rollout=rollout, rollout_error=error)
    await hosts.heartbeat(report, 60)


async def waits(store: RedisStore, number: int, generation: str) -> None:
    await store.reserve_warm(warm_id(number), 99, LIMITS)
    await store.record_agent(replace(agent_record(warm_id(number)), generation=generation))


async def test_one_at_a_time(rollouts: RedisRollouts) -> None:
    assert await rollouts.begin("one") == "one"
    assert await rollouts.begin("one") == "one", "said again"
    assert await rollouts.begin("two") == "one"
    assert await rollouts.note("one", "done", "all new")
    assert await rollouts.begin("two") == "two"
    record = await rollouts.current()
    assert record is not None
    assert (record.rollout_id, record.state, record.recycled, record.ended_at) == ("two", "running", 0, None)


async def test_there_is_none(rollouts: RedisRollouts) -> None:
    assert await rollouts.current() is None
    assert await rollouts.look(3) is None
    assert not await rollouts.note("one", "done", "")
    assert await rollouts.recycle("one", 5, 0) == []


async def test_what_one_sees(rollouts: RedisRollouts, store: RedisStore, hosts: RedisHosts) -> None:
    await rollouts.begin("r")
    await host_is_at(hosts, "2", rollout="r")
    await beat(hosts, "other")
    await waits(store, 1, "1")
    await waits(store, 2, "2")
    await waits(store, 3, "")
    found = await rollouts.look(7)
    assert found is not None
    rollout_id, view = found
    assert rollout_id == "r"
    assert sorted(view.hosts, key=lambda host: host.host) == sorted(
        [HostProgress(HOST, followed=True), HostProgress("other", followed=False)], key=lambda host: host.host
    )
    assert view.pools == (PoolProgress("default", old=2, ready=3, target=7),)


async def test_a_hosts_error_of_an_earlier_rollout_is_not_this_ones(rollouts: RedisRollouts, hosts: RedisHosts) -> None:
    await rollouts.begin("r")
    await host_is_at(hosts, "1", rollout="before", error="broken")
    found = await rollouts.look(3)
    assert found is not None
    assert found[1].hosts == (HostProgress(HOST, followed=False),)
    await host_is_at(hosts, "1", rollout="r", error="still broken")
    found = await rollouts.look(3)
    assert found is not None
    assert found[1].hosts == (HostProgress(HOST, followed=True, error="still broken"),)


async def test_a_draining_host_is_not_waited_for(rollouts: RedisRollouts, hosts: RedisHosts) -> None:
    await rollouts.begin("r")
    await host_is_at(hosts, "1")
    await hosts.drain(HOST)
    found = await rollouts.look(3)
    assert found is not None
    assert found[1].hosts == ()


async def test_only_older_ones_that_wait_are_ended(
    rollouts: RedisRollouts, store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    await rollouts.begin("r")
    await host_is_at(hosts, "2", rollout="r")
    await waits(store, 1, "1")
    taken = (await claimed(store)).session_id
    await waits(store, 2, "1")
    await waits(store, 3, "2")
    assert await rollouts.recycle("r", 9, 0) == [warm_id(2)]
    assert await rollouts.recycle("r", 9, 0) == [], "said again"
    in_call, ended, new = [await store.get(i) for i in (taken, warm_id(2), warm_id(3))]
    assert in_call is not None
    assert ended is not None
    assert new is not None
    assert (in_call.state, ended.state, new.state) == (SessionState.ASSIGNED, SessionState.ENDED, SessionState.READY)
    told = [fields for _, fields in await hosts.commands(HOST, "0", 1) if fields["type"] == "end"]
    assert [fields["session"] for fields in told] == [warm_id(2)]
    record = await rollouts.current()
    assert record is not None
    assert record.recycled == 1


async def test_some_are_left(rollouts: RedisRollouts, store: RedisStore, hosts: RedisHosts) -> None:
    await rollouts.begin("r")
    await host_is_at(hosts, "2", rollout="r")
    for number in range(1, 6):
        await waits(store, number, "1")
    assert len(await rollouts.recycle("r", 9, 3)) == 2
    assert len(await rollouts.recycle("r", 9, 3)) == 0
    assert await rollouts.recycle("another", 9, 0) == []


async def test_quiet_is_counted_from_the_last_change(
    rollouts: RedisRollouts, hosts: RedisHosts, client: Client
) -> None:
    await rollouts.begin("r")
    await rollouts.look(3)
    moved = await client.hget(keys.ROLLOUT, "movedAt")
    await rollouts.look(3)
    assert await client.hget(keys.ROLLOUT, "movedAt") == moved
    await host_is_at(hosts, "2", rollout="r")
    await rollouts.look(3)
    assert await client.hget(keys.ROLLOUT, "movedAt") != moved


async def test_a_host_is_told_by_its_stream(hosts: RedisHosts) -> None:
    await hosts.load_anew(HOST, "r")
    assert [fields for _, fields in await hosts.commands(HOST, "0", 1)] == [{"type": "load", "rollout": "r"}]
