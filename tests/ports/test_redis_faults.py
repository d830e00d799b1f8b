"""What only the real Redis can do: forget its scripts, cut connections, stand still, and be gone."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from contract import keys
from contract.messages import Turn
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client, connect, let_sockets_close
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_lookup import RedisLookup
from orchestrator.adapters.redis_statistics import RedisStatistics
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.records import Claimed, Queued, ReplaceRule, Search
from tests.support.flaky_proxy import FlakyProxy, flaky_proxy
from tests.support.invariants import check_everything
from tests.support.records import (
    HOST,
    LIMITS,
    agent_record,
    beat,
    claimed,
    cold_id,
    identity,
    start_request,
    warm,
    warm_id,
)
from tests.support.servers import RedisServer


@pytest.fixture
async def admin(redis_server: RedisServer) -> AsyncIterator[Client]:
    """A connection of the tests' own, to an empty Redis."""
    client = connect(redis_server.url)
    await client.flushall()
    yield client
    await check_everything(client)
    await client.aclose()


@pytest.fixture
async def client(redis_server: RedisServer, admin: Client) -> AsyncIterator[Client]:
    client = connect(redis_server.url)
    yield client
    await client.aclose()


@pytest.fixture
async def proxy(redis_server: RedisServer, admin: Client) -> AsyncIterator[FlakyProxy]:
    async with flaky_proxy(redis_server.port) as running:
        yield running


@pytest.fixture
async def proxied(proxy: FlakyProxy) -> AsyncIterator[Client]:
    client = connect(proxy.url, max_connections=1)
    await client.ping()
    yield client
    await client.aclose()


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may stop."""
    server = RedisServer.create(tmp_path)
    server.start()
    yield server
    server.stop()


async def test_forgotten_scripts_are_loaded_again(admin: Client, client: Client) -> None:
    store = RedisStore(client)
    await beat(RedisHosts(client))
    await warm(store, 1, 2)
    first = await claimed(store)
    await admin.script_flush()
    second = await claimed(store)
    assert first.session_id != second.session_id


async def test_killed_connections_are_made_anew(admin: Client, client: Client) -> None:
    store = RedisStore(client)
    await warm(store, 1)
    for _ in range(3):
        await asyncio.gather(*(store.counts(0) for _ in range(8)))
        await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        assert all(c.pool_ready == 1 for c in await asyncio.gather(*(store.counts(0) for _ in range(8))))


async def test_a_connection_killed_while_it_waits(admin: Client, client: Client) -> None:
    hosts = RedisHosts(client)
    waits = [asyncio.create_task(hosts.acknowledged("r", 1.5)), asyncio.create_task(hosts.commands(HOST, "0", 1500))]
    async with asyncio.timeout(10):
        while int((await admin.info("clients"))["blocked_clients"]) < 2:
            await asyncio.sleep(0)
    await admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    outcomes = await asyncio.gather(*waits, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreUnavailableError, StoreUnavailableError]
    assert await hosts.hosts() == []


# --- the answer is lost, although the thing was done ---------------------------------------------------


async def test_a_claim_whose_answer_is_lost_takes_one_agent(admin: Client, proxy: FlakyProxy, proxied: Client) -> None:
    plain, store = RedisStore(admin), RedisStore(proxied)
    await beat(RedisHosts(admin))
    await plain.claim(start_request(), "loads the script")
    await warm(plain, 1, 2, 3)
    proxy.drop_next()
    claim = await store.claim(start_request("key"), "r")
    assert isinstance(claim, Claimed)
    assert proxy.dropped == 1
    counts = await plain.counts(0)
    assert (counts.pool_ready, counts.total_assigned) == (2, 1)
    assert claim.refill, "the first answer said so, and nobody heard it"


async def test_a_reservation_whose_answer_is_lost_is_made_once_and_is_fresh(
    admin: Client, proxy: FlakyProxy, proxied: Client
) -> None:
    store = RedisStore(proxied)
    await RedisStore(admin).reserve_cold(start_request(), cold_id(2), "t", LIMITS)
    proxy.drop_next()
    queued = await store.reserve_cold(start_request("key"), cold_id(1), "t", LIMITS)
    assert queued == Queued(cold_id(1), dispatched=True, position=2, fresh=True)
    assert (proxy.dropped, (await RedisStore(admin).counts(0)).spawning) == (1, 2)


async def test_what_must_not_run_twice_says_that_the_store_is_away(
    admin: Client, proxy: FlakyProxy, proxied: Client
) -> None:
    store, plain = RedisStore(proxied), RedisStore(admin)
    await plain.reserve_warm(warm_id(9), 9, LIMITS)
    proxy.drop_next()
    with pytest.raises(StoreUnavailableError):
        await store.reserve_warm(warm_id(1), 9, LIMITS)
    assert (await plain.counts(0)).warming == 2, "it was done, once"
    await warm(plain, 2, 3, 4)
    await plain.retire(0, "loads the script")
    await store.ping()  # connects anew: the answer that is lost is the call's own
    proxy.drop_next()
    with pytest.raises(StoreUnavailableError):
        await store.retire(1, "smaller")
    assert (await plain.counts(0)).pool_ready == 2
    await store.ping()
    proxy.drop_next()
    with pytest.raises(StoreUnavailableError):
        await store.add_turn(warm_id(2), Turn(role="user", text="hello", at=1.0))
    assert len(await plain.turns(warm_id(2))) == 1


async def test_an_end_whose_answer_is_lost_ends_once(admin: Client, proxy: FlakyProxy, proxied: Client) -> None:
    plain, hosts = RedisStore(admin), RedisHosts(admin)
    await warm(plain, 1)
    await plain.finish(warm_id(404), SessionState.ENDED, "loads the script")
    proxy.drop_next()
    await RedisStore(proxied).finish(warm_id(1), SessionState.ENDED, "over")
    assert len(await hosts.commands(HOST, "0", 10)) == 1
    await proxied.ping()
    proxy.drop_next()
    assert not (await RedisStore(proxied).record_agent(agent_record(warm_id(1)))).accepted


async def test_two_lost_answers_are_too_many(admin: Client, proxy: FlakyProxy, proxied: Client) -> None:
    await beat(RedisHosts(admin))
    plain = RedisStore(admin)
    await plain.claim(start_request(), "r")
    await warm(plain, 1)
    proxy.drop_next(10)
    with pytest.raises(StoreUnavailableError):
        await RedisStore(proxied).claim(start_request("key"), "r")
    proxy._next = 0
    again = await RedisStore(proxied).claim(start_request("key"), "r")
    assert isinstance(again, Claimed), "the caller sends the same request again and has the agent"
    assert (await admin.scard(keys.POOL_READY)) == 0


# --- the server is away --------------------------------------------------------------------------------

CALLS: dict[str, Callable[[RedisStore, RedisHosts], Awaitable[object]]] = {
    "claim": lambda store, _: store.claim(start_request(), "r"),
    "reserve_cold": lambda store, _: store.reserve_cold(start_request(), cold_id(1), "t", LIMITS),
    "reserve_warm": lambda store, _: store.reserve_warm(warm_id(1), 3, LIMITS),
    "record_agent": lambda store, _: store.record_agent(agent_record(warm_id(1))),
    "replace": lambda store, _: store.replace(warm_id(1), identity(), "x", "agent_died", ReplaceRule(2)),
    "lose_host": lambda store, _: store.lose_host("host-1", "0", ReplaceRule(2)),
    "suspect": lambda _, hosts: hosts.suspect("host-1", "0"),
    "finish": lambda store, _: store.finish(warm_id(1), SessionState.ENDED, "x"),
    "release_claim": lambda store, _: store.release_claim("key", warm_id(1)),
    "get": lambda store, _: store.get(warm_id(1)),
    "seen": lambda store, _: store.seen(warm_id(1)),
    "page": lambda store, _: store.page([SessionState.READY], 5, None),
    "find": lambda store, _: RedisLookup(store._client).find([SessionState.READY], Search("prewarm_", "x"), 5, None),
    "queue": lambda store, _: RedisLookup(store._client).queue(5),
    "note_starts": lambda store, _: RedisStatistics(store._client).note_starts(1, 0, [1.0]),
    "sample": lambda store, _: RedisStatistics(store._client).sample(3),
    "samples": lambda store, _: RedisStatistics(store._client).samples(5),
    "keep_timeline": lambda store, _: store.keep_timeline(warm_id(1), {"click": 0}),
    "counts": lambda store, _: store.counts(3),
    "forget": lambda store, _: store.forget(1),
    "note_demand": lambda store, _: store.note_demand(1.5, 300, 4),
    "set_target": lambda store, _: store.set_target(3, 3),
    "refill_due": lambda store, _: store.refill_due(),
    "refill_begun": lambda store, _: store.refill_begun(),
    "spawn_stats": lambda store, _: store.spawn_stats(),
    "count_spawn_failure": lambda store, _: store.count_spawn_failure("x"),
    "add_turn": lambda store, _: store.add_turn(warm_id(1), Turn(role="user", text="x", at=1.0)),
    "turns": lambda store, _: store.turns(warm_id(1)),
    "locked": lambda store, _: store.locked("x", 1, "t"),
    "unlock": lambda store, _: store.unlock("x", "t"),
    "owned_by": lambda store, _: store.owned_by(HOST),
    "now": lambda store, _: store.now(),
    "ping": lambda store, _: store.ping(),
    "heartbeat": lambda _, hosts: beat(hosts),
    "sign_off": lambda _, hosts: hosts.sign_off(HOST),
    "hosts": lambda _, hosts: hosts.hosts(),
    "forget_gone": lambda _, hosts: hosts.forget_gone(),
    "load_anew": lambda _, hosts: hosts.load_anew(HOST, "r"),
    "acknowledged": lambda _, hosts: hosts.acknowledged("r", 0.2),
    "logs": lambda _, hosts: hosts.logs(HOST, warm_id(1), 5),
    "commands": lambda _, hosts: hosts.commands(HOST, "0", 100),
}


async def every_call(client: Client) -> dict[str, type[BaseException]]:
    """What each call raises, all at once."""
    store, hosts = RedisStore(client), RedisHosts(client)
    outcomes = await asyncio.gather(*(call(store, hosts) for call in CALLS.values()), return_exceptions=True)
    return {name: type(outcome) for name, outcome in zip(CALLS, outcomes, strict=True)}


async def test_a_server_that_stands_still(own_server: RedisServer) -> None:
    client = connect(own_server.url)
    try:
        await asyncio.gather(*(client.ping() for _ in range(len(CALLS))))
        own_server.send(signal.SIGSTOP)
        assert set((await every_call(client)).items()) == {(name, StoreUnavailableError) for name in CALLS}
        own_server.send(signal.SIGCONT)
        await RedisStore(client).ping()
    finally:
        await client.aclose()


async def test_no_free_connection_on_a_server_that_stands_still(own_server: RedisServer) -> None:
    client = connect(own_server.url, max_connections=2)
    try:
        own_server.send(signal.SIGSTOP)
        outcomes = await asyncio.gather(*(RedisStore(client).counts(0) for _ in range(8)), return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {StoreUnavailableError}
        own_server.send(signal.SIGCONT)
        await RedisStore(client).ping()
    finally:
        await client.aclose()


async def test_a_server_that_is_gone_and_comes_back(own_server: RedisServer) -> None:
    client = connect(own_server.url)
    try:
        store = RedisStore(client)
        await store.ping()
        own_server.stop(signal.SIGKILL)
        assert set((await every_call(client)).items()) == {(name, StoreUnavailableError) for name in CALLS}
        own_server.start()
        await store.ping()
        await warm(store, 1)
        assert (await store.counts(0)).pool_ready == 1
    finally:
        await client.aclose()


async def test_after_a_restart_no_connection_fails_once_more(own_server: RedisServer) -> None:
    client = connect(own_server.url)
    try:
        await asyncio.gather(*(client.ping() for _ in range(8)))
        own_server.stop(signal.SIGKILL)
        own_server.start()
        await let_sockets_close()
        store = RedisStore(client)
        await beat(RedisHosts(client))
        many = replace(LIMITS, max_agents=8, spawn_concurrency=8)
        assert all(await asyncio.gather(*(store.reserve_warm(warm_id(n), 8, many) for n in range(1, 9))))
    finally:
        await client.aclose()


def test_a_loop_that_stood_still_while_the_server_restarted(own_server: RedisServer) -> None:
    """As in a worker, whose loop runs for its tasks only: what must not run twice works at once."""
    client = connect(own_server.url)
    store = RedisStore(client)

    async def reserve(number: int) -> bool:
        await let_sockets_close()
        return await store.reserve_warm(warm_id(number), 9, LIMITS)

    with asyncio.Runner() as runner:
        runner.run(beat(RedisHosts(client)))
        assert runner.run(reserve(1))
        for number in (2, 3):
            own_server.stop(signal.SIGKILL)
            own_server.start()
            assert runner.run(reserve(number))
        runner.run(client.aclose())


async def test_a_store_that_was_never_there(tmp_path: Path) -> None:
    client = connect(f"unix://{tmp_path}/nobody.sock")
    try:
        with pytest.raises(StoreUnavailableError):
            await RedisStore(client).ping()
    finally:
        await client.aclose()
