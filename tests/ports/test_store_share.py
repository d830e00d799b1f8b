"""Which host starts an agent: one that is heard, and for the pool one that has no more agents than the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract import keys
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import PassedOnError
from orchestrator.records import ReplaceRule
from tests.support.records import (
    LIMITS,
    agent_record,
    beat,
    cold_id,
    host_report,
    identity,
    start_request,
    warm,
    warm_id,
)

FULL, EMPTY = "host-full", "host-empty"


@pytest.fixture(autouse=True)
async def two_hosts(store: RedisStore, hosts: RedisHosts) -> None:
    """One has an agent, the other none."""
    await beat(hosts, FULL)
    await beat(hosts, EMPTY)
    await warm(store, 100, host=FULL)


async def reserved(store: RedisStore, number: int) -> str:
    assert await store.reserve_warm(warm_id(number), 9, LIMITS)
    return warm_id(number)


async def starts(store: RedisStore, session_id: str, host: str) -> bool:
    """Whether this host is to start it; what it is not to start it gives back."""
    try:
        return await store.begin_spawn(session_id, 20, host, task=f"of {host}") == 1
    except PassedOnError:
        assert await store.give_back(session_id, 20, counted=False)
        return False


async def times_passed_on(store: RedisStore, session_id: str, host: str) -> int:
    passed = 0
    while not await starts(store, session_id, host):
        passed += 1
    return passed


async def comes(store: RedisStore, session_id: str, host: str) -> None:
    await store.record_agent(agent_record(session_id, who=identity(host, pid=int(session_id[-4:], 16))))


async def test_the_one_that_has_more_leaves_it_to_the_other(store: RedisStore) -> None:
    first = await reserved(store, 1)
    assert not await starts(store, first, FULL)
    assert await starts(store, first, EMPTY)
    await comes(store, first, EMPTY)
    assert await starts(store, await reserved(store, 2), FULL), "both have as many"


async def test_those_that_are_being_started_count(store: RedisStore) -> None:
    first, second = await reserved(store, 1), await reserved(store, 2)
    assert await starts(store, first, EMPTY)
    assert await starts(store, second, FULL)
    assert not await starts(store, await reserved(store, 3), FULL)


@pytest.mark.parametrize("situation", ["silent", "drains", "its zygote is broken"])
async def test_one_that_could_not_start_it_is_not_waited_for(
    store: RedisStore, hosts: RedisHosts, situation: str
) -> None:
    match situation:
        case "silent":
            await hosts.sign_off(EMPTY)
        case "drains":
            await hosts.drain(EMPTY)
        case _:
            await hosts.heartbeat(replace(host_report(), host=EMPTY, zygote="failed: no such module"), 60)
    assert await starts(store, await reserved(store, 1), FULL)


async def test_one_where_a_try_failed_is_not_given_more(store: RedisStore, client: Client) -> None:
    first = await reserved(store, 1)
    assert await starts(store, first, EMPTY)
    assert await store.begin_spawn(first, 20, FULL, task=f"of {EMPTY}") == 2, "the next try is anybody's"
    second = await reserved(store, 2)
    assert await starts(store, second, FULL)

    await client.hset(keys.host(EMPTY), "spawnFailedAt", await store.now() - 31)
    assert not await starts(store, await reserved(store, 3), FULL), "a while later it is tried again"


async def test_what_the_other_does_not_take_is_started_after_all(store: RedisStore) -> None:
    session_id = await reserved(store, 1)
    assert await times_passed_on(store, session_id, FULL) == 7, "twice for each host, and three times more"


async def test_one_that_is_busy_starting_others_is_waited_for_longer(store: RedisStore) -> None:
    await warm(store, 101, host=FULL)
    first, second = await reserved(store, 1), await reserved(store, 2)
    assert await starts(store, first, EMPTY)
    assert await times_passed_on(store, second, FULL) == 14, "and not for ever: that one may hang"


async def test_one_whose_spawn_is_overdue_is_not_busy(store: RedisStore, client: Client) -> None:
    await warm(store, 101, host=FULL)
    first, second = await reserved(store, 1), await reserved(store, 2)
    assert await starts(store, first, EMPTY)
    await client.zadd(keys.POOL_SPAWNING, {first: await store.now() - 1})
    assert await times_passed_on(store, second, FULL) == 7


async def test_one_whose_spawn_came_to_no_end_is_not_given_more(store: RedisStore, client: Client) -> None:
    """Its worker died with it: its host, which is heard, cannot know."""
    await warm(store, 101, host=FULL)
    first, second = await reserved(store, 1), await reserved(store, 2)
    assert await starts(store, first, EMPTY)
    await client.zadd(keys.POOL_SPAWNING, {first: await store.now() - 1})
    assert await store.respawn(first, 20)
    assert await starts(store, second, FULL)
    assert await client.hget(keys.session(first), "spawnHost") is None, "it is nobody's yet"


async def test_what_waits_again_is_no_hosts(store: RedisStore, client: Client) -> None:
    session_id = await for_a_user(store)
    assert await starts(store, session_id, EMPTY)
    assert await store.hold_spawn(session_id, "spawns keep failing", failed=True)
    assert await client.hget(keys.session(session_id), "spawnHost") is None


async def test_a_user_does_not_wait_for_it(store: RedisStore) -> None:
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    assert await store.begin_spawn(cold_id(1), 20, FULL) == 1


# --- a host that is not heard: frozen, cut off or restarting, while its worker lives --------------------


async def replaced(store: RedisStore, client: Client) -> str:
    """A call on FULL, which is lost."""
    await client.hset(keys.host(FULL), mapping={"leaseUntil": "1.0", "heartbeatAt": "1.0"})
    assert (await store.lose_host(FULL, "1.0", ReplaceRule(2))).replaced == [warm_id(100)]
    return warm_id(100)


async def for_a_user(store: RedisStore) -> str:
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    return cold_id(1)


@pytest.mark.parametrize("whose", ["a lost call's", "a user's", "the pool's"])
async def test_it_starts_nothing_that_another_one_can_start(
    store: RedisStore, hosts: RedisHosts, client: Client, whose: str
) -> None:
    await store.claim(start_request(), "r")
    match whose:
        case "a lost call's":
            session_id = await replaced(store, client)
        case "a user's":
            session_id = await for_a_user(store)
        case _:
            session_id = await reserved(store, 1)
    await hosts.sign_off(FULL)
    assert not await starts(store, session_id, FULL)
    assert await starts(store, session_id, EMPTY)
    session = await store.get(session_id)
    assert session is not None
    assert session.attempts == 1, "it cost no try"


@pytest.mark.parametrize("other", ["unheard of", "silent", "drains", "its zygote is broken", "of another kind", "full"])
async def test_where_no_other_can_start_it_a_user_waits_for_it(
    store: RedisStore, hosts: RedisHosts, client: Client, other: str
) -> None:
    session_id = await for_a_user(store)
    match other:
        case "unheard of":
            await client.delete(keys.host(EMPTY))
            await client.srem(keys.HOSTS, EMPTY)
        case "silent":
            await hosts.sign_off(EMPTY)
        case "drains":
            await hosts.drain(EMPTY)
        case "its zygote is broken":
            await beat(hosts, EMPTY, zygote="failed: no such module")
        case "of another kind":
            await beat(hosts, EMPTY, kinds="sales")
        case _:
            await beat(hosts, EMPTY, capacity=0)
    await hosts.sign_off(FULL)
    assert await starts(store, session_id, FULL)


async def test_a_lost_call_goes_to_a_full_host_too(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await store.claim(start_request(), "r")
    await beat(hosts, EMPTY, capacity=0)
    session_id = await replaced(store, client)
    assert not await starts(store, session_id, FULL)
    assert await starts(store, session_id, EMPTY)


async def test_a_second_try_is_passed_on_as_well(store: RedisStore, hosts: RedisHosts) -> None:
    """The first one may have begun before anybody could know."""
    session_id = await for_a_user(store)
    assert await starts(store, session_id, FULL)
    await hosts.sign_off(FULL)
    assert not await starts(store, session_id, FULL)
    assert await store.begin_spawn(session_id, 20, EMPTY) == 2


async def test_what_nobody_takes_from_it_is_begun_there_after_all(store: RedisStore, hosts: RedisHosts) -> None:
    """The other host's worker may be away, and this host may come back."""
    session_id = await for_a_user(store)
    await hosts.sign_off(FULL)
    assert await times_passed_on(store, session_id, FULL) == 20


async def test_each_replacement_is_passed_on_anew(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await store.claim(start_request(), "r")
    session_id = await replaced(store, client)
    assert not await starts(store, session_id, FULL)
    assert await client.hget(keys.session(session_id), "passed") == "1"
    await starts(store, session_id, EMPTY)
    await comes(store, session_id, EMPTY)
    await beat(hosts, FULL)
    await store.replace(session_id, identity(EMPTY, pid=int(session_id[-4:], 16)), "x", "agent_died", ReplaceRule(2))
    assert await client.hget(keys.session(session_id), "passed") is None
