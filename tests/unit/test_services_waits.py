"""How long one who waits will wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_breakers import RedisBreakers
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.breaker import Breaker
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.records import Session
from orchestrator.services.waits import FRESH_S, TYPICAL_SPAWN_S, Waits
from tests.support.fakes import fake_client
from tests.support.records import HOST, LIMITS, agent_record, beat, claimed, cold_id, start_request, warm, warm_id

ONE_AT_A_TIME = replace(LIMITS, spawn_concurrency=1)
TWO = replace(LIMITS, max_agents=2)


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    client = fake_client()
    yield client
    await client.aclose()


@pytest.fixture
def store(client: Client) -> RedisStore:
    return RedisStore(client)


async def spawned(store: RedisStore, number: int, startup_s: float) -> None:
    await store.reserve_warm(warm_id(number), 99, LIMITS)
    await store.record_agent(agent_record(warm_id(number), startup_s=startup_s))


async def test_before_a_spawn_was_measured(store: RedisStore) -> None:
    waits = Waits(store, LIMITS, lambda: 0.0)
    assert [await waits.estimate_s(place) for place in (1, 4, 5)] == [TYPICAL_SPAWN_S, TYPICAL_SPAWN_S, 0.8]


async def test_one_look_serves_many(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = 100.0, 0
    stats = store.spawn_stats

    async def counted() -> object:
        nonlocal looks
        looks += 1
        return await stats()

    monkeypatch.setattr(store, "spawn_stats", counted)
    waits = Waits(store, ONE_AT_A_TIME, lambda: now)
    await spawned(store, 1, 0.2)
    assert [await waits.estimate_s(place) for place in (1, 2, 3)] == pytest.approx([0.2, 0.4, 0.6])
    await spawned(store, 2, 0.5)
    await spawned(store, 3, 0.6)
    now += FRESH_S / 2
    assert await waits.estimate_s(1) == 0.2
    assert looks == 1
    now += FRESH_S / 2
    assert await waits.estimate_s(1) == 0.5
    assert looks == 2


async def test_a_store_that_is_away_is_asked_again(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away() -> object:
        raise StoreUnavailableError

    waits = Waits(store, ONE_AT_A_TIME, lambda: 0.0)
    await spawned(store, 1, 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(store, "spawn_stats", away)
        with pytest.raises(StoreUnavailableError):
            await waits.estimate_s(1)
    assert await waits.estimate_s(1) == 0.2


async def queued(store: RedisStore, number: int) -> Session:
    """A user who waits, while two agents are all that there may be."""
    await store.reserve_cold(start_request(), cold_id(number), "t", TWO)
    session = await store.get(cold_id(number))
    assert session is not None
    return session


async def told_s(store: RedisStore, session: Session) -> float | None:
    """What one who looks now is told."""
    assert session.queue_position is not None
    return await Waits(store, TWO, lambda: 0.0).estimate_s(session.queue_position, session.waiting_place)


async def call(client: Client, number: int, lasted_s: float) -> str:
    """A user has been talking for so long."""
    store = RedisStore(client)
    await warm(store, number)
    session_id = (await claimed(store)).session_id
    began = await store.now() - lasted_s
    await client.hset(keys.session(session_id), "assignedAt", f"{began:.6f}")
    return session_id


async def test_while_every_agent_is_busy_the_wait_is_that_for_calls_to_end(client: Client, store: RedisStore) -> None:
    await beat(RedisHosts(client))
    for number, lasted_s in ((1, 50), (2, 70)):
        await store.finish(await call(client, number, lasted_s), SessionState.ENDED, "the user left")
    calls = [await call(client, number, 5) for number in (3, 4)]
    waiting = [await queued(store, number) for number in (1, 2, 3)]
    assert [session.waiting_place for session in waiting] == [1, 2, 3]

    told = [await told_s(store, session) for session in waiting]
    # Two calls of a minute: one ends every half of one.
    assert told == pytest.approx([30.4, 60.4, 90.4], abs=0.1)
    retry_s = await Waits(store, TWO, lambda: 0.0).retry_after_s("default")
    assert retry_s in {30, 31}

    await store.finish(calls[0], SessionState.ENDED, "the user left")
    assert await told_s(store, waiting[0]) == TYPICAL_SPAWN_S, "a place is free: it is only to be started"


async def test_before_a_call_has_ended_nobody_can_say(client: Client, store: RedisStore) -> None:
    await beat(RedisHosts(client))
    for number in (1, 2):
        await call(client, number, 5)
    assert await told_s(store, await queued(store, 1)) is None
    assert await Waits(store, TWO, lambda: 0.0).retry_after_s("default") is None


async def test_what_was_free_at_the_last_look_is_not_promised_to_one_who_waits_since(
    client: Client, store: RedisStore
) -> None:
    await beat(RedisHosts(client))
    await store.finish(await call(client, 1, 60), SessionState.ENDED, "the user left")
    now = 100.0
    waits = Waits(store, TWO, lambda: now)

    async def told(session: Session) -> float | None:
        assert session.queue_position is not None
        return await waits.estimate_s(session.queue_position, session.waiting_place)

    assert await told(await queued(store, 1)) == TYPICAL_SPAWN_S
    await call(client, 2, 5)  # within a second of that look
    waiting = [await queued(store, number) for number in (2, 3)]
    assert [session.waiting_place for session in waiting] == [1, 2]
    assert [await told(session) for session in waiting] == [None, None]
    assert await waits.retry_after_s("default") is None

    now += FRESH_S
    assert await told(waiting[0]) == pytest.approx(30.4, abs=0.1)
    last = await queued(store, 4)
    assert await told(last) == pytest.approx(90.4, abs=0.1), "it waits since, too, but nothing was free then"
    assert await waits.retry_after_s("default") in {30, 31}


async def test_calls_that_failed_or_never_began_tell_nothing_of_how_long_one_takes(
    client: Client, store: RedisStore
) -> None:
    await beat(RedisHosts(client))
    await store.finish(await call(client, 1, 5), SessionState.FAILED, "its agent did not acknowledge in time")
    await warm(store, 2)
    await store.retire(1, "smaller")
    await queued(store, 3)
    await store.finish(cold_id(3), SessionState.ENDED, "its caller went away")
    assert await store.call_lengths_s() == []


async def test_while_no_host_starts_agents_nobody_can_say(client: Client, store: RedisStore) -> None:
    hosts = RedisHosts(client)
    await beat(hosts)
    await store.finish(await call(client, 1, 60), SessionState.ENDED, "the user left")
    await hosts.drain(HOST)
    session = await queued(store, 1)
    assert await told_s(store, session) is None
    await hosts.undrain(HOST)
    assert await told_s(store, session) == TYPICAL_SPAWN_S
    breakers = RedisBreakers(client)
    view = await breakers.look("default")
    is_open = Breaker(opened=1, since=view.now, open_until=view.now + 9, code="c", reason="why")
    assert await breakers.change("default", view.version, is_open)
    assert await told_s(store, session) is None


async def test_many_who_ask_at_once_cause_one_look(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    stats = store.spawn_stats

    async def counted() -> object:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return await stats()

    monkeypatch.setattr(store, "spawn_stats", counted)
    waits = Waits(store, ONE_AT_A_TIME, lambda: 0.0)
    await asyncio.gather(*(waits.estimate_s(1) for _ in range(5)))
    assert looks == 1
