"""What was measured: starts, samples, and how long a place in the pool was empty."""

from __future__ import annotations

import asyncio

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_statistics import SAMPLE_EVERY_S, SAMPLES_KEPT, RedisStatistics
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.records import Limits, Sample
from tests.support.records import LIMITS, agent_record, beat, claimed, cold_id, start_request, warm, warm_id


@pytest.fixture
def statistics(client: Client) -> RedisStatistics:
    return RedisStatistics(client)


async def sampled(statistics: RedisStatistics, client: Client, target: int = 3) -> Sample:
    """A sample of its own, as if the last one had been at another time."""
    if await client.exists(keys.STATS_SAMPLED):
        await client.hset(keys.STATS_SAMPLED, "slot", "0")
    assert await statistics.sample(target)
    return (await statistics.samples(1))[-1]


async def test_a_sample_has_what_there_is(
    store: RedisStore, hosts: RedisHosts, statistics: RedisStatistics, client: Client
) -> None:
    await beat(hosts)
    await warm(store, 1, 2, 3)
    await store.mark_active((await claimed(store)).session_id)
    await store.reserve_warm(warm_id(9), 9, LIMITS)
    tight = Limits(max_agents=4, max_queue=5, spawn_concurrency=9, spawn_deadline_s=20)
    for number in range(2):
        await store.reserve_cold(start_request(), cold_id(number), "t", tight)
    before = await store.now()
    sample = await sampled(statistics, client)
    assert before - 0.001 <= sample.at <= await store.now()
    assert sample == Sample(
        at=sample.at, ready=2, target=3, starting=1, active=1, waiting=2,
        warm_hit_rate=None, start_p50_ms=None, start_p95_ms=None, spawn_p50_ms=None, refill_lag_ms=None,
    )  # fmt: skip
    await store.set_target(7, 3)
    assert (await sampled(statistics, client)).target == 7


async def test_one_sample_for_a_moment_whoever_asks(
    statistics: RedisStatistics, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.adapters.redis_statistics.SAMPLE_EVERY_S", 86_400)  # no midnight in between
    another = RedisStatistics(client)
    taken = await asyncio.gather(*(each.sample(3) for each in (statistics, another) for _ in range(5)))
    assert sorted(taken) == [False] * 9 + [True]
    assert len(await statistics.samples(10)) == 1


async def test_the_next_moment_has_its_own(statistics: RedisStatistics, client: Client) -> None:
    await sampled(statistics, client)
    slot = int(str(await client.hget(keys.STATS_SAMPLED, "slot")))
    seconds, _ = await client.time()
    assert slot * SAMPLE_EVERY_S <= seconds <= (slot + 2) * SAMPLE_EVERY_S
    await client.hset(keys.STATS_SAMPLED, "slot", str(slot + 1000))  # Redis's clock went back
    assert await statistics.sample(3)


async def test_samples_are_bounded_and_in_order(statistics: RedisStatistics, client: Client) -> None:
    first = await sampled(statistics, client)
    for _ in range(SAMPLES_KEPT + 5):
        last = await sampled(statistics, client)
    kept = await statistics.samples(SAMPLES_KEPT * 2)
    assert len(kept) == SAMPLES_KEPT
    assert first not in kept
    assert [s.at for s in kept] == sorted(s.at for s in kept)
    assert await statistics.samples(1) == [last]


async def test_the_share_of_warm_starts_is_of_the_time_in_between(statistics: RedisStatistics, client: Client) -> None:
    await statistics.note_starts(5, 5, [])
    assert (await sampled(statistics, client)).warm_hit_rate is None, "nobody knows since when these count"
    assert (await sampled(statistics, client)).warm_hit_rate is None, "there were none"
    await statistics.note_starts(3, 1, [])
    assert (await sampled(statistics, client)).warm_hit_rate == 0.75
    await statistics.note_starts(0, 2, [])
    assert (await sampled(statistics, client)).warm_hit_rate == 0.0
    await client.delete(keys.STATS_STARTS)  # Redis came back without its last second
    await statistics.note_starts(1, 0, [])
    assert (await sampled(statistics, client)).warm_hit_rate is None


async def test_percentiles_of_the_starts_of_lately(statistics: RedisStatistics, client: Client) -> None:
    await statistics.note_starts(100, 0, [float(ms) for ms in range(100, 0, -1)])
    sample = await sampled(statistics, client)
    assert (sample.start_p50_ms, sample.start_p95_ms) == (50.0, 95.0)
    [*times] = await client.lrange(keys.STATS_START_RECENT, 0, -1)
    await client.delete(keys.STATS_START_RECENT)
    old = [f"{float(entry.split()[0]) - 61:.6f} 9999" for entry in times]
    await client.rpush(keys.STATS_START_RECENT, times[0], *old)
    sample = await sampled(statistics, client)
    assert (sample.start_p50_ms, sample.start_p95_ms) == (1.0, 1.0)


async def test_starts_are_bounded(statistics: RedisStatistics, client: Client) -> None:
    await statistics.note_starts(600, 0, [1.0] * 600)
    assert await client.llen(keys.STATS_START_RECENT) == 500


async def test_the_newest_spawns_count(store: RedisStore, statistics: RedisStatistics, client: Client) -> None:
    for number in range(40):
        await store.reserve_warm(warm_id(number), 99, Limits(99, 9, 99, 20))
        slow_once = 9.0 if number < 20 else 0.2
        await store.record_agent(agent_record(warm_id(number), startup_s=slow_once))
    assert (await sampled(statistics, client)).spawn_p50_ms == 200.0


# --- how long a place was empty ------------------------------------------------------------------------


async def spawned_warm(store: RedisStore, number: int) -> None:
    await store.reserve_warm(warm_id(number), 99, LIMITS)
    await store.record_agent(agent_record(warm_id(number)))


async def lags_ms(client: Client) -> list[float]:
    return [float(entry.split()[1]) for entry in await client.lrange(keys.STATS_REFILL_RECENT, 0, -1)]


async def test_a_place_is_empty_from_the_claim_to_the_next_agent(
    store: RedisStore, hosts: RedisHosts, statistics: RedisStatistics, client: Client
) -> None:
    await beat(hosts)
    await warm(store, 1, 2)
    first, second = await claimed(store), await claimed(store)
    assert await client.llen(keys.STATS_VACANCIES) == 2
    for age_s, number in ((5.0, 1), (2.0, 0)):  # the newest first: the one claimed first has waited for longer
        await client.lset(keys.STATS_VACANCIES, number, f"{first.assigned_at - age_s:.6f}")
    await spawned_warm(store, 3)
    await spawned_warm(store, 4)
    newest, oldest = await lags_ms(client)
    assert 5000 <= oldest < 65_000
    assert 2000 <= newest < oldest
    assert (await sampled(statistics, client)).refill_lag_ms == newest, "of two the smaller is the median"
    await spawned_warm(store, 5)
    assert len(await lags_ms(client)) == 2, "no place was empty"
    assert second.assigned_at >= first.assigned_at


@pytest.mark.parametrize("state", [SessionState.READY, SessionState.ASSIGNED])
async def test_an_agent_for_a_user_fills_no_place(
    store: RedisStore, hosts: RedisHosts, client: Client, state: SessionState
) -> None:
    await beat(hosts)
    await warm(store, 1)
    await claimed(store)
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await store.record_agent(agent_record(cold_id(1), state))
    assert (await lags_ms(client), await client.llen(keys.STATS_VACANCIES)) == ([], 1)


async def test_a_request_that_came_twice_leaves_one_place(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await beat(hosts)
    await warm(store, 1, 2)
    await claimed(store, "key")
    await claimed(store, "key")
    assert await client.llen(keys.STATS_VACANCIES) == 1


async def test_a_new_size_has_no_empty_places(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await beat(hosts)
    await warm(store, 1)
    await claimed(store)
    assert await store.set_target(0, 3) == 3
    assert not await client.exists(keys.STATS_VACANCIES)


async def test_a_full_pool_has_no_empty_places(
    store: RedisStore, hosts: RedisHosts, statistics: RedisStatistics, client: Client
) -> None:
    """Else a place that was not filled, as a smaller pool was set at a start, would count for ever."""
    await beat(hosts)
    await warm(store, 1, 2, 3)
    await claimed(store)
    await sampled(statistics, client, target=3)
    assert await client.exists(keys.STATS_VACANCIES)
    await sampled(statistics, client, target=2)
    assert not await client.exists(keys.STATS_VACANCIES)


async def test_places_and_lags_are_bounded(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await beat(hosts)
    await client.rpush(keys.STATS_VACANCIES, *["1.0"] * 600)
    await warm(store, 1)
    await claimed(store)
    assert await client.llen(keys.STATS_VACANCIES) == 500
    for number in range(2, 105):
        await store.reserve_warm(warm_id(number), 999, Limits(999, 9, 99, 20))
        await store.record_agent(agent_record(warm_id(number)))
    assert await client.llen(keys.STATS_REFILL_RECENT) == 100
