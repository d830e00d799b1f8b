"""How long one who waits will wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.services.waits import FRESH_S, TYPICAL_SPAWN_S, Waits
from tests.support.fakes import fake_client
from tests.support.records import LIMITS, agent_record, warm_id


@pytest.fixture
async def store() -> AsyncIterator[RedisStore]:
    client = fake_client()
    yield RedisStore(client)
    await client.aclose()


async def spawned(store: RedisStore, number: int, startup_s: float) -> None:
    await store.reserve_warm(warm_id(number), 99, LIMITS)
    await store.record_agent(agent_record(warm_id(number), startup_s=startup_s))


async def test_before_a_spawn_was_measured(store: RedisStore) -> None:
    waits = Waits(store, 4, lambda: 0.0)
    assert [await waits.estimate_s(place) for place in (1, 4, 5)] == [TYPICAL_SPAWN_S, TYPICAL_SPAWN_S, 0.8]


async def test_one_look_serves_many(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now, looks = 100.0, 0
    stats = store.spawn_stats

    async def counted() -> object:
        nonlocal looks
        looks += 1
        return await stats()

    monkeypatch.setattr(store, "spawn_stats", counted)
    waits = Waits(store, 1, lambda: now)
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

    waits = Waits(store, 1, lambda: 0.0)
    await spawned(store, 1, 0.2)
    with monkeypatch.context() as patch:
        patch.setattr(store, "spawn_stats", away)
        with pytest.raises(StoreUnavailableError):
            await waits.estimate_s(1)
    assert await waits.estimate_s(1) == 0.2


async def test_many_who_ask_at_once_cause_one_look(store: RedisStore, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0
    stats = store.spawn_stats

    async def counted() -> object:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return await stats()

    monkeypatch.setattr(store, "spawn_stats", counted)
    waits = Waits(store, 1, lambda: 0.0)
    await asyncio.gather(*(waits.estimate_s(1) for _ in range(5)))
    assert looks == 1
