"""The spawn breaker in the store: what may begin while spawns keep failing, whoever asks, and how many at once."""

from __future__ import annotations

import asyncio

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_breakers import RedisBreakers
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.breaker import Breaker, BreakerPolicy, Phase
from orchestrator.domain.errors import AgentsUnavailableError
from orchestrator.domain.pool import SpawnWarm
from orchestrator.records import Death, ReplaceRule
from orchestrator.services.breaker import SpawnBreaker
from orchestrator.services.pool import KeepPool, ReapAges
from tests.support.fakes import FakeTaskQueue
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

S = SessionState
KIND = keys.DEFAULT_KIND
POLICY = BreakerPolicy(failures=3, base_s=40, cap_s=80)


@pytest.fixture
def breakers(client: Client) -> RedisBreakers:
    return RedisBreakers(client)


@pytest.fixture
def queue() -> FakeTaskQueue:
    return FakeTaskQueue()


@pytest.fixture
def breaker(breakers: RedisBreakers, queue: FakeTaskQueue) -> SpawnBreaker:
    return SpawnBreaker(breakers, queue, POLICY, draw=lambda: 0.0)


@pytest.fixture(autouse=True)
async def _live_host(hosts: RedisHosts) -> None:
    await beat(hosts)


async def opened(breaker: SpawnBreaker) -> None:
    for _ in range(POLICY.failures):
        await breaker.failed("agent_died", "it died")


async def time_passes(client: Client, breakers: RedisBreakers) -> None:
    """Until it is half-open."""
    await client.hset(keys.breaker(KIND), "openUntil", "1.0")
    assert (await breakers.look(KIND)).phase is Phase.HALF_OPEN


async def state(store: RedisStore, session_id: str) -> SessionState:
    session = await store.get(session_id)
    assert session is not None
    return session.state


async def test_nobody_has_failed(breakers: RedisBreakers) -> None:
    view = await breakers.look(KIND)
    assert (view.breaker, view.version, view.phase) == (Breaker(), 0, Phase.CLOSED)
    assert view.now > 1e9


async def test_what_was_decided_on_an_older_state_is_not_written(breakers: RedisBreakers) -> None:
    one = Breaker(failures=1)
    assert await breakers.change(KIND, 0, one)
    assert not await breakers.change(KIND, 0, Breaker(failures=9))
    assert (await breakers.look(KIND)).breaker == one
    whole = Breaker(opened=2, since=1.5, open_until=2.5, code="c", reason="why")
    assert await breakers.change(KIND, 1, whole)
    assert (await breakers.look(KIND)).breaker == whole


async def test_failures_at_once_are_all_counted_and_it_opens_once(
    breakers: RedisBreakers, breaker: SpawnBreaker, queue: FakeTaskQueue
) -> None:
    held = await asyncio.gather(*(breaker.failed("agent_died", "it died") for _ in range(8)))
    assert sum(held) == 8 - POLICY.failures + 1
    view = await breakers.look(KIND)
    assert (view.phase, view.breaker.opened) == (Phase.OPEN, 1)
    assert queue.later == [20.05], "one refill, for when one may be tried"
    assert queue.refills == 1, "and one that tells those who have waited for long"


async def test_while_it_is_open_nothing_is_begun(store: RedisStore, breaker: SpawnBreaker) -> None:
    await store.reserve_warm(warm_id(1), 9, LIMITS)
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await opened(breaker)
    kind = (await store.snapshot()).kinds["default"]
    assert kind.may_begin == 0
    assert kind.failing_since == pytest.approx(await store.now(), abs=30)
    assert not await store.reserve_warm(warm_id(2), 9, LIMITS)
    with pytest.raises(AgentsUnavailableError) as refused:
        await store.reserve_cold(start_request(), cold_id(2), "t", LIMITS)
    assert refused.value.detail == AgentsUnavailableError().detail, "callers are not told why"
    assert refused.value.retry_after_s in (19, 20)
    assert await store.get(cold_id(2)) is None
    for session_id in (warm_id(1), cold_id(1)):
        with pytest.raises(AgentsUnavailableError):
            await store.begin_spawn(session_id, 20)
    session = await store.get(cold_id(1))
    assert session is not None
    assert session.attempts == 0, "it cost no try"


async def test_what_was_queued_is_held_back(store: RedisStore, breaker: SpawnBreaker) -> None:
    await store.reserve_warm(warm_id(1), 9, LIMITS)
    await store.reserve_warm(warm_id(2), 9, LIMITS)
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await opened(breaker)
    assert await store.hold_spawn(warm_id(1), "why", failed=False)
    assert await store.hold_spawn(warm_id(2), "why", failed=True)
    assert await store.hold_spawn(cold_id(1), "why", failed=True)
    assert not await store.hold_spawn(cold_id(1), "why", failed=True), "held once"
    assert [await state(store, i) for i in (warm_id(1), warm_id(2), cold_id(1))] == [S.ENDED, S.FAILED, S.STARTING]
    assert not await store.dispatch(cold_id(1), LIMITS)
    counts = await store.counts(0)
    assert (counts.spawning, counts.warming, counts.waiting) == (0, 0, 1)
    await breaker.succeeded()
    assert (await store.snapshot()).kinds["default"].failing_since is None
    assert await store.dispatch(cold_id(1), LIMITS)


async def test_who_waits_is_handed_out(store: RedisStore, breaker: SpawnBreaker) -> None:
    [session_id] = await warm(store, 1)
    await opened(breaker)
    assert (await claimed(store)).session_id == session_id


async def test_a_request_that_was_queued_before_is_answered_as_before(store: RedisStore, breaker: SpawnBreaker) -> None:
    await store.reserve_cold(start_request("key"), cold_id(1), "t", LIMITS)
    await opened(breaker)
    again = await store.reserve_cold(start_request("key"), cold_id(2), "t", LIMITS)
    assert (again.session_id, again.fresh) == (cold_id(1), False)  # type: ignore[union-attr]


async def test_a_call_whose_agent_died_has_its_tries(store: RedisStore, breaker: SpawnBreaker) -> None:
    [session_id] = await warm(store, 1)
    await claimed(store)
    who = identity(pid=1)
    assert await store.replace(session_id, who, "x", "agent_died", ReplaceRule(2)) is Death.REPLACED
    await opened(breaker)
    assert await store.begin_spawn(session_id, 20, task="t") == 1
    assert not await store.hold_spawn(session_id, "why", failed=True)


async def test_half_open_one_try_is_begun_and_no_other(
    client: Client, store: RedisStore, breakers: RedisBreakers, breaker: SpawnBreaker
) -> None:
    await opened(breaker)
    await time_passes(client, breakers)
    kind = (await store.snapshot()).kinds["default"]
    assert (kind.may_begin, kind.failing_since) == (1, None), "nobody is turned away before the try has failed"
    assert await store.reserve_warm(warm_id(1), 9, LIMITS)
    kind = (await store.snapshot()).kinds["default"]
    assert (kind.may_begin, kind.failing_since) == (0, None)
    assert not await store.reserve_warm(warm_id(2), 9, LIMITS)
    with pytest.raises(AgentsUnavailableError):
        await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    assert await store.begin_spawn(warm_id(1), 20) == 1, "it is the try"
    assert await store.begin_spawn(warm_id(1), 20) == 2, "also when its worker died and it is begun again"


async def test_two_refills_at_once_take_one_try(
    client: Client, store: RedisStore, hosts: RedisHosts, breakers: RedisBreakers, breaker: SpawnBreaker
) -> None:
    await opened(breaker)
    await time_passes(client, breakers)
    queue = FakeTaskQueue()
    pool = KeepPool(store, hosts, queue, LIMITS, ReapAges(60, 60, 60, 60), default_target=3)
    planned = await asyncio.gather(pool.refill(), pool.refill())
    assert [SpawnWarm()] in planned
    assert len(queue.spawned) == 1


async def test_a_try_that_comes_to_no_end_makes_room_for_another(
    client: Client, store: RedisStore, breakers: RedisBreakers, breaker: SpawnBreaker
) -> None:
    await opened(breaker)
    await time_passes(client, breakers)
    assert await store.reserve_warm(warm_id(1), 9, LIMITS)
    await client.hset(keys.breaker(KIND), "tryUntil", "1.0")
    assert await store.reserve_warm(warm_id(2), 9, LIMITS)
    with pytest.raises(AgentsUnavailableError):
        await store.begin_spawn(warm_id(1), 20)


async def test_a_try_that_met_no_host_is_given_back(
    client: Client, store: RedisStore, breakers: RedisBreakers, breaker: SpawnBreaker, queue: FakeTaskQueue
) -> None:
    await opened(breaker)
    await breaker.failed("host_unavailable", "it restarts")
    assert queue.later == [20.05], "a refill is due anyway"
    await time_passes(client, breakers)
    assert await store.reserve_warm(warm_id(1), 9, LIMITS)
    assert await breaker.failed("host_unavailable", "it restarts"), "nothing else is begun for that"
    assert queue.later == [20.05, 20.05], "who waits is not left to beat: another one is tried soon"
    assert await store.hold_spawn(warm_id(1), "it restarts", failed=True)
    assert await store.reserve_warm(warm_id(2), 9, LIMITS)


async def test_while_it_is_closed_a_host_that_is_away_asks_for_no_refill(
    breaker: SpawnBreaker, queue: FakeTaskQueue
) -> None:
    assert not await breaker.failed("host_unavailable", "it restarts")
    assert queue.later == []


@pytest.mark.parametrize("how", ["its caller ends it", "no host takes it"])
async def test_a_try_that_nobody_needs_any_more_makes_room_for_another(
    client: Client, store: RedisStore, hosts: RedisHosts, breakers: RedisBreakers, breaker: SpawnBreaker, how: str
) -> None:
    await opened(breaker)
    await time_passes(client, breakers)
    if how == "its caller ends it":
        await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
        await store.finish(cold_id(1), S.ENDED, "ended by its caller")
        assert await store.begin_spawn(cold_id(1), 20, HOST, task="t") == 0
    else:
        assert await store.reserve_warm(warm_id(1), 9, LIMITS)
        await hosts.drain(HOST)
        assert not await store.give_back(warm_id(1), 20, counted=False)
        await hosts.undrain(HOST)
    assert (await store.snapshot()).kinds["default"].may_begin == 1
    queued = await store.reserve_cold(start_request(user="user-2"), cold_id(2), "t", LIMITS)
    assert queued.dispatched, "it is the try now"  # type: ignore[union-attr]


async def test_a_users_try_that_no_host_takes_makes_room_for_another(
    client: Client, store: RedisStore, hosts: RedisHosts, breakers: RedisBreakers, breaker: SpawnBreaker
) -> None:
    await opened(breaker)
    await time_passes(client, breakers)
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await hosts.drain(HOST)
    assert not await store.give_back(cold_id(1), 20, counted=False), "its user waits in its place"
    await hosts.undrain(HOST)
    assert (await store.snapshot()).kinds["default"].may_begin == 1


async def test_the_end_of_another_session_leaves_the_try(
    client: Client, store: RedisStore, breakers: RedisBreakers, breaker: SpawnBreaker
) -> None:
    await warm(store, 3)
    await opened(breaker)
    await time_passes(client, breakers)
    assert await store.reserve_warm(warm_id(1), 9, LIMITS)
    await store.finish(warm_id(3), S.ENDED, "x")
    assert (await store.snapshot()).kinds["default"].may_begin == 0


async def test_without_a_pool_a_users_start_is_the_try(
    client: Client, store: RedisStore, breakers: RedisBreakers, breaker: SpawnBreaker
) -> None:
    await opened(breaker)
    await time_passes(client, breakers)
    first = await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    assert first.dispatched  # type: ignore[union-attr]
    with pytest.raises(AgentsUnavailableError):
        await store.reserve_cold(start_request(), cold_id(2), "t", LIMITS)
    await breaker.succeeded()
    await store.reserve_cold(start_request(), cold_id(2), "t", LIMITS)


async def test_a_failed_try_opens_it_for_longer_and_a_success_closes_it(
    client: Client, store: RedisStore, breakers: RedisBreakers, breaker: SpawnBreaker, queue: FakeTaskQueue
) -> None:
    await opened(breaker)
    await time_passes(client, breakers)
    assert await store.reserve_warm(warm_id(1), 9, LIMITS)
    await breaker.failed("agent_died", "again")
    view = await breakers.look(KIND)
    assert (view.phase, view.breaker.opened, view.breaker.reason) == (Phase.OPEN, 2, "again")
    assert queue.later == [20.05, 40.05]
    await store.record_agent(agent_record(warm_id(1)))
    await breaker.succeeded()
    assert (await store.snapshot()).kinds["default"].may_begin is None
