"""Rates of starts, and how many sessions one user has: counted where a session begins."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.limits import Counted, Quota, Rate, RateLimitedError
from orchestrator.records import Answered, Claimed, NoneReady, Queued, StartRequest
from tests.support.records import LIMITS, agent_record, beat, cold_id, start_request, warm

USER, TENANT = Rate(2, 60), Rate(3, 3600)


@pytest.fixture(autouse=True)
async def _live_host(hosts: RedisHosts) -> None:
    await beat(hosts)


def _request(user: str = "ada", key: str | None = None, *, rate: Rate = USER, tenant: Rate = TENANT) -> StartRequest:
    counted = [Counted("user", user, rate), Counted("tenant", "t", tenant)]
    return replace(start_request(key, user=user), counted=counted, owner=user)


async def _left(store: RedisStore, request: StartRequest) -> list[int]:
    outcome = await store.claim(request, "r")
    assert isinstance(outcome, Claimed | NoneReady)
    return [quota.remaining for quota in outcome.quotas]


async def _backdate(client: Client, key: str, seconds: float) -> None:
    for request, at in await client.zrange(key, 0, -1, withscores=True):
        await client.zadd(key, {request: at - seconds})


async def test_what_is_left_is_told_with_each_start(store: RedisStore) -> None:
    await warm(store, 1)
    first = await store.claim(_request(), "r")
    assert isinstance(first, Claimed)
    assert first.quotas == (Quota("user", USER, 1, 60), Quota("tenant", TENANT, 2, 3600))
    second = await store.claim(_request(), "r")
    assert isinstance(second, NoneReady)
    assert [quota.remaining for quota in second.quotas] == [0, 1]
    assert 1 <= second.quotas[0].reset_s <= 60


async def test_one_too_many(store: RedisStore, client: Client) -> None:
    for _ in range(2):
        await store.claim(_request(), "r")
    await warm(store, 1)
    with pytest.raises(RateLimitedError, match="2 starts in 60 s are the most for one user") as raised:
        await store.claim(_request(), "r")
    assert 1 <= (raised.value.retry_after_s or 0) <= 60
    assert [quota.remaining for quota in raised.value.quotas] == [0, 1]
    assert await client.scard(keys.POOL_READY) == 1, "it took no agent"
    assert await client.zcard(keys.limit("tenant", "t")) == 2, "and counts against nothing"
    assert await _left(store, _request("eve")) == [1, 0], "another user of the same tenant"
    with pytest.raises(RateLimitedError, match="3 starts in 3600 s are the most for one API key, token or tenant"):
        await store.claim(_request("bob"), "r")
    assert await client.exists(keys.limit("user", "bob")) == 0


async def test_the_longest_wait_is_told(store: RedisStore) -> None:
    for user in ("ada", "ada", "eve"):
        await store.claim(_request(user), "r")
    with pytest.raises(RateLimitedError) as raised:
        await store.claim(_request("ada"), "r")
    assert (raised.value.retry_after_s or 0) > 3500, "in a minute, its tenant would still have none left"


async def test_the_window_slides(store: RedisStore, client: Client) -> None:
    key = keys.limit("user", "ada")
    await store.claim(_request(), "r")
    await _backdate(client, key, 40)
    await store.claim(_request(), "r")
    with pytest.raises(RateLimitedError) as raised:
        await store.claim(_request(tenant=Rate(9, 60)), "r")
    assert 1 <= (raised.value.retry_after_s or 0) <= 20, "until the first one leaves"
    await _backdate(client, key, 20)
    assert (await _left(store, _request()))[0] == 0, "one left, and one came"
    with pytest.raises(RateLimitedError):
        await store.claim(_request(tenant=Rate(9, 60)), "r")
    await _backdate(client, key, 60)
    assert (await _left(store, _request(tenant=Rate(9, 60))))[0] == 1


async def test_a_window_leaves_nothing_behind(store: RedisStore, client: Client) -> None:
    await store.claim(_request(), "r")
    assert 0 < await client.ttl(keys.limit("user", "ada")) <= 60
    assert 3500 < await client.ttl(keys.limit("tenant", "t")) <= 3600


async def test_a_request_counts_once_however_often_it_is_sent(store: RedisStore) -> None:
    request = _request(key="k")
    for _ in range(5):
        assert await _left(store, request) == [1, 2]
    assert await _left(store, _request()) == [0, 1]
    assert await _left(store, request) == [0, 1], "also when nothing is left"


async def test_one_whose_agent_did_not_answer_counts_once(store: RedisStore) -> None:
    await warm(store, 1, 2)
    request = _request(key="k")
    first = await store.claim(request, "r")
    assert isinstance(first, Claimed)
    await store.evict(first.session_id, first.fence, "k", "silent", "r")
    assert await _left(store, request) == [1, 2]


async def test_a_replay_does_not_count(store: RedisStore, client: Client) -> None:
    await warm(store, 1)
    cold = _request(key="cold", rate=Rate(9, 60))
    for key in ("warm", "cold"):
        await store.claim(_request(key=key), "r")
    await store.reserve_cold(cold, cold_id(1), "t", LIMITS)
    for name in ("user", "tenant"):
        await client.delete(keys.limit(name, "ada"), keys.limit(name, "t"))
    replays = [await store.claim(_request(key=key), "r") for key in ("warm", "cold")]
    assert isinstance(replays[0], Claimed)
    assert replays[0].quotas == ()
    assert isinstance(replays[1], Queued)
    await store.keep_answer("warm", "{}", 60)
    assert await store.claim(_request(key="warm"), "r") == Answered("{}")
    assert [key async for key in client.scan_iter("limit:*")] == []


async def test_a_lowered_limit(store: RedisStore, client: Client) -> None:
    key = keys.limit("user", "ada")
    for age_s in (10, 20, 30):
        await store.claim(_request(rate=Rate(9, 60)), "r")
        await _backdate(client, key, age_s)
    # They are 60, 50 and 30 s old: the oldest has left, and of two that count one is too many.
    with pytest.raises(RateLimitedError) as raised:
        await store.claim(_request(rate=Rate(1, 60), tenant=Rate(9, 60)), "r")
    assert raised.value.quotas[0].remaining == 0
    assert 20 < (raised.value.retry_after_s or 0) <= 30


async def test_at_once_no_more_than_there_are(store: RedisStore) -> None:
    outcomes = await asyncio.gather(
        *(store.claim(_request(tenant=Rate(99, 60)), f"r{i}") for i in range(20)), return_exceptions=True
    )
    assert sum(isinstance(outcome, NoneReady) for outcome in outcomes) == 2
    assert sum(isinstance(outcome, RateLimitedError) for outcome in outcomes) == 18


# --- how many sessions one user has --------------------------------------------------------------------


def _crowding(user: str = "ada", key: str | None = None, most: int = 2) -> StartRequest:
    return replace(start_request(key, user=user), owner=user, most_sessions=most)


async def test_so_many_sessions_and_no_more(store: RedisStore, client: Client) -> None:
    await warm(store, 1, 2)
    assert isinstance(await store.claim(_crowding(), "r"), Claimed)
    assert isinstance(await store.reserve_cold(_crowding(), cold_id(1), "t", LIMITS), Queued)
    with pytest.raises(RateLimitedError, match="One user may have 2 sessions at once"):
        await store.claim(_crowding(), "r")
    with pytest.raises(RateLimitedError):
        await store.reserve_cold(_crowding(), cold_id(2), "t", LIMITS)
    assert await client.scard(keys.POOL_READY) == 1
    assert await store.get(cold_id(2)) is None
    assert isinstance(await store.claim(_crowding("eve"), "r"), Claimed)
    assert isinstance(await store.claim(_crowding(most=3), "r"), NoneReady)


async def test_one_that_is_over_gives_its_place_back(store: RedisStore, client: Client) -> None:
    await store.reserve_cold(_crowding(), cold_id(1), "t", LIMITS)
    await store.reserve_cold(_crowding(), cold_id(2), "t", LIMITS)
    await store.record_agent(agent_record(cold_id(2)))
    await store.finish(cold_id(1), SessionState.ENDED, "x")
    assert isinstance(await store.reserve_cold(_crowding(), cold_id(3), "t", LIMITS), Queued)
    await store.finish(cold_id(2), SessionState.FAILED, "x")
    await store.finish(cold_id(3), SessionState.ENDED, "x")
    assert await client.exists(keys.owned("ada")) == 0


async def test_the_same_start_again_is_not_one_more(store: RedisStore) -> None:
    await warm(store, 1)
    first = await store.claim(_crowding(key="k", most=1), "r")
    again = await store.claim(_crowding(key="k", most=1), "r")
    assert isinstance(first, Claimed)
    assert isinstance(again, Claimed)
    assert first.session_id == again.session_id


async def test_an_evicted_agent_gives_its_place_back(store: RedisStore) -> None:
    await warm(store, 1, 2)
    first = await store.claim(_crowding(key="k", most=1), "r")
    assert isinstance(first, Claimed)
    await store.evict(first.session_id, first.fence, "k", "silent", "r")
    assert isinstance(await store.claim(_crowding(key="k", most=1), "r"), Claimed)


async def test_many_at_once_of_one_user(store: RedisStore) -> None:
    await warm(store, *range(9))
    outcomes = await asyncio.gather(*(store.claim(_crowding(), f"r{i}") for i in range(9)), return_exceptions=True)
    assert sum(isinstance(outcome, Claimed) for outcome in outcomes) == 2


async def test_without_a_limit_nobody_is_counted(store: RedisStore, client: Client) -> None:
    await warm(store, 1)
    await store.claim(_crowding(most=0), "r")
    await store.reserve_cold(_crowding(most=0), cold_id(1), "t", LIMITS)
    assert await client.exists(keys.owned("ada")) == 0
