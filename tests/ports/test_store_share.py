"""Which host starts an agent for the pool: one that has no more agents than the others."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract import keys
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import FewerElsewhereError
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
    except FewerElsewhereError:
        assert await store.give_back(session_id, 20, counted=False)
        return False


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
    passed = 0
    while not await starts(store, session_id, FULL):
        passed += 1
    assert passed == 7, "twice for each host, and three times more"


async def test_a_user_does_not_wait_for_it(store: RedisStore) -> None:
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    assert await store.begin_spawn(cold_id(1), 20, FULL) == 1
