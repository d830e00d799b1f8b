"""What the hosts measured bounds what is reserved: over all of them, and for each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import AtCapacityError, HostFullError
from orchestrator.records import Death, Queued, ReplaceRule
from tests.support.records import (
    HOST,
    LIMITS,
    agent_record,
    cold_id,
    host_report,
    identity,
    start_request,
    warm,
    warm_id,
)


async def beat(hosts: RedisHosts, capacity: int, host: str = HOST, *, lease_s: float = 60) -> None:
    await hosts.heartbeat(replace(host_report(), host=host, capacity=capacity), lease_s)


async def reserve(store: RedisStore, number: int) -> Queued:
    queued = await store.reserve_cold(start_request(), cold_id(number), "t", LIMITS)
    assert isinstance(queued, Queued)
    return queued


async def test_starts_up_to_the_measured_capacity_then_a_queue_then_refused(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    await beat(hosts, 2)
    assert [(await reserve(store, n)).dispatched for n in range(2)] == [True, True]
    places = [await reserve(store, n) for n in range(2, 2 + LIMITS.max_queue)]
    assert [(p.dispatched, p.position) for p in places] == [(False, 3), (False, 4), (False, 5)]
    with pytest.raises(AtCapacityError) as refused:
        await reserve(store, 9)
    assert refused.value.retry_after_s
    assert not await client.exists(keys.session(cold_id(9))), "a refusal leaves nothing"


async def test_agents_that_are_and_those_under_way_count_once(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, 3)
    await warm(store, 1)
    assert (await reserve(store, 1)).dispatched
    assert (await store.counts(0)).host_room == 2
    await store.record_agent(agent_record(cold_id(1), who=identity(pid=2)))
    assert (await store.counts(0)).host_room == 1, "it is the host's now, before its next heartbeat"
    assert (await reserve(store, 2)).dispatched
    assert not (await reserve(store, 3)).dispatched


async def test_the_pool_grows_no_further_either(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, 2)
    assert [await store.reserve_warm(warm_id(n), 9, LIMITS) for n in range(3)] == [True, True, False]
    assert (await store.snapshot()).kinds["default"].host_room == 2


async def test_who_waits_is_dispatched_when_there_is_room(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, 0)
    assert not (await reserve(store, 1)).dispatched
    assert not await store.dispatch(cold_id(1), LIMITS)
    await beat(hosts, 1)
    assert await store.dispatch(cold_id(1), LIMITS)


@pytest.mark.parametrize("other", ["alive", "draining", "away"])
async def test_only_living_hosts_that_do_not_drain_count(store: RedisStore, hosts: RedisHosts, other: str) -> None:
    await beat(hosts, 1)
    await beat(hosts, 4, "other", lease_s=-1 if other == "away" else 60)
    if other == "draining":
        await hosts.drain("other")
    assert (await store.snapshot()).kinds["default"].host_room == (5 if other == "alive" else 1)


async def test_an_overfull_host_takes_nothing_from_the_others(store: RedisStore, hosts: RedisHosts) -> None:
    await warm(store, 1, 2, 3)
    await beat(hosts, 1)
    await beat(hosts, 2, "other")
    assert (await store.snapshot()).kinds["default"].host_room == 2


async def test_without_a_host_that_says_max_bots_alone_counts(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    assert (await store.counts(0)).host_room is None
    await beat(hosts, 0, lease_s=-1)
    assert (await store.snapshot()).kinds["default"].host_room is None, "one that restarts is waited for"
    assert (await reserve(store, 1)).dispatched
    await beat(hosts, 0)
    await client.hdel(keys.host(HOST), "capacity")
    assert (await store.snapshot()).kinds["default"].host_room is None


# --- a spawn at a host that is full --------------------------------------------------------------------


async def test_a_full_host_begins_no_spawn_and_another_does(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, 1)
    await beat(hosts, 1, "other")
    await warm(store, 1)
    assert (await reserve(store, 1)).dispatched
    with pytest.raises(HostFullError):
        await store.begin_spawn(cold_id(1), 20, HOST)
    assert await store.give_back(cold_id(1), 20, counted=False), "the other one has room"
    assert await store.begin_spawn(cold_id(1), 20, "other") == 1


async def test_what_a_host_says_of_itself_counts_until_its_next_heartbeat(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, 5)
    await reserve(store, 1)
    assert await store.begin_spawn(cold_id(1), 20, HOST) == 1
    assert not await store.give_back(cold_id(1), 20, counted=True, full_host=HOST), "there is no other"
    session = await store.get(cold_id(1))
    assert session is not None
    assert (session.state, session.attempts, session.queue_position) == (SessionState.STARTING, 0, 1)
    assert not await store.dispatch(cold_id(1), LIMITS)
    await beat(hosts, 5)
    assert await store.dispatch(cold_id(1), LIMITS)


async def test_the_pools_spawn_is_left_where_nobody_has_room(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, 5)
    await store.reserve_warm(warm_id(1), 1, LIMITS)
    assert not await store.give_back(warm_id(1), 20, counted=False, full_host=HOST)
    session = await store.get(warm_id(1))
    assert session is not None
    assert (session.state, session.end_reason) == (SessionState.ENDED, "no host takes new sessions")


async def test_a_host_that_nobody_knows_is_not_made_up(store: RedisStore, client: Client) -> None:
    await store.reserve_warm(warm_id(1), 1, LIMITS)
    assert await store.give_back(warm_id(1), 20, counted=False, full_host="nobody")
    assert not await client.exists(keys.host("nobody"))


async def test_a_call_goes_on_at_a_full_host(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, 1)
    await reserve(store, 1)
    await store.record_agent(agent_record(cold_id(1)))
    await beat(hosts, 0)
    assert await store.replace(cold_id(1), identity(), "x", "agent_died", ReplaceRule(2)) is Death.REPLACED
    assert await store.begin_spawn(cold_id(1), 20, HOST) == 1
    assert await store.give_back(cold_id(1), 20, counted=True, full_host=HOST)
