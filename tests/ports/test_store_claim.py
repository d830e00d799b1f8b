"""Claims: one agent for one request, only from hosts that live, and never two."""

from __future__ import annotations

import asyncio
import json

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import IdempotencyConflictError, StartUnderWayError
from orchestrator.records import Answered, Claimed, Limits, NoneReady, Queued
from tests.support.records import HOST, LIMITS, beat, claimed, cold_id, start_request, warm, warm_id


@pytest.fixture(autouse=True)
async def _live_host(hosts: RedisHosts) -> None:
    await beat(hosts)


async def test_a_claim_writes_down_whose_it_is_and_tells_the_host(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    [session_id] = await warm(store, 1)
    before = await store.now()
    claim = await claimed(store, "key", reply="reply-1")
    session = await store.get(session_id)
    assert (claim.session_id, claim.host) == (session_id, HOST)
    assert session is not None
    assert session.state is SessionState.ASSIGNED
    assert (session.user_id, session.user_name, session.prewarmed) == ("user-1", "Ada", True)
    assert session.fence == claim.fence > 0
    assert session.assigned_at == claim.assigned_at >= before
    [(_, command)] = await hosts.commands(HOST, "0", 10)
    settings = json.loads(command["assignment"])
    assert {**command, "assignment": ""} == {
        "type": "assign", "session": session_id, "fence": str(claim.fence), "assignment": "",
        "reply": keys.reply("reply-1"),
    }  # fmt: skip
    assert settings == {"user_id": "user-1", "user_name": "Ada", "metadata": {"n": 1}}
    assert await client.scard(keys.POOL_READY) == 0
    assert (await store.counts(0)).total_assigned == 1


async def test_an_empty_pool(store: RedisStore) -> None:
    assert await store.claim(start_request(), "r") == NoneReady()
    assert (await store.counts(0)).total_assigned == 0


async def test_claims_take_each_agent_once(store: RedisStore) -> None:
    ids = await warm(store, *range(20))
    outcomes = await asyncio.gather(*(store.claim(start_request(user=f"u{i}"), f"r{i}") for i in range(25)))
    taken = [outcome for outcome in outcomes if isinstance(outcome, Claimed)]
    assert sorted(claim.session_id for claim in taken) == ids
    assert len({claim.fence for claim in taken}) == 20
    assert outcomes.count(NoneReady()) == 5
    assert sum(claim.refill for claim in taken) == 1, "one refill for a burst"


async def test_fences_only_grow(store: RedisStore) -> None:
    await warm(store, 1, 2, 3)
    fences = [(await claimed(store)).fence for _ in range(3)]
    assert fences == sorted(set(fences))


@pytest.mark.parametrize("how", ["no heartbeat", "stale lease", "signed off", "draining"])
async def test_an_agent_of_such_a_host_is_not_handed_out(
    store: RedisStore, hosts: RedisHosts, client: Client, how: str
) -> None:
    if how == "stale lease":
        await beat(hosts, "other", lease_s=-0.001)
    elif how != "no heartbeat":
        await beat(hosts, "other")
    if how == "signed off":
        await hosts.sign_off("other")
    if how == "draining":
        await client.hset(keys.host("other"), "draining", "1")
    await warm(store, 1, 2, host="other")
    assert await store.claim(start_request(), "r") == NoneReady()
    [good] = await warm(store, 3)
    assert (await claimed(store)).session_id == good
    session = await store.get(warm_id(1))
    assert session is not None
    assert session.state is SessionState.READY, "it is left alone: its host may come back"


async def test_a_heartbeat_makes_it_claimable_again(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, "other", lease_s=-1)
    await warm(store, 1, host="other")
    assert await store.claim(start_request(), "r") == NoneReady()
    await beat(hosts, "other")
    await warm(store, 1, host="other")
    assert (await claimed(store)).session_id == warm_id(1)


async def test_a_claim_looks_past_stale_agents_but_not_for_ever(client: Client, hosts: RedisHosts) -> None:
    store = RedisStore(client, claim_depth=2)
    await warm(store, 1, 2, 3, host="gone")
    assert await store.claim(start_request(), "r") == NoneReady()
    assert await client.scard(keys.POOL_READY) == 1


# --- the same request again ----------------------------------------------------------------------------


async def test_the_same_request_is_given_the_same_agent_which_is_told_again(
    store: RedisStore, hosts: RedisHosts
) -> None:
    await warm(store, 1, 2)
    first = await claimed(store, "key", reply="r1")
    second = await claimed(store, "key", reply="r2")
    assert (first.session_id, first.fence, first.host, first.assigned_at) == (
        second.session_id, second.fence, second.host, second.assigned_at,
    )  # fmt: skip
    told = [fields for _, fields in await hosts.commands(HOST, "0", 10)]
    assert [(t["session"], t["fence"], t["reply"]) for t in told] == [
        (first.session_id, str(first.fence), keys.reply("r1")),
        (first.session_id, str(first.fence), keys.reply("r2")),
    ]
    counts = await store.counts(0)
    assert (counts.pool_ready, counts.total_assigned) == (1, 1)


async def test_another_body_under_the_same_key(store: RedisStore) -> None:
    await warm(store, 1, 2)
    await claimed(store, "key")
    with pytest.raises(IdempotencyConflictError):
        await store.claim(start_request("key", body="other"), "r")
    with pytest.raises(IdempotencyConflictError):
        await store.reserve_cold(start_request("key", body="other"), cold_id(1), "t", LIMITS)
    assert (await store.counts(0)).pool_ready == 1


async def test_an_answer_stands_once_it_is_kept(store: RedisStore, client: Client) -> None:
    await warm(store, 1, 2)
    await claimed(store, "key")
    assert await store.keep_answer("key", "first", 60) == "first"
    assert await store.keep_answer("key", "second", 60) == "first"
    assert await store.claim(start_request("key"), "r") == Answered("first")
    assert await store.reserve_cold(start_request("key"), cold_id(1), "t", LIMITS) == Answered("first")
    assert (await store.counts(0)).pool_ready == 1
    assert 0 < await client.ttl(keys.idempotency("key")) <= 60


async def test_an_answer_lives_as_long_as_it_was_asked_to(store: RedisStore, client: Client) -> None:
    await warm(store, 1)
    await store.claim(start_request("key", keep_s=86_400), "r")
    await store.keep_answer("key", "a", 86_400)
    assert 86_000 < await client.ttl(keys.idempotency("key")) <= 86_400
    assert await store.keep_answer("alone", "a", 60) == "a"
    assert 0 < await client.ttl(keys.idempotency("alone")) <= 60


async def test_the_same_request_after_its_session_ended_is_given_another(store: RedisStore) -> None:
    await warm(store, 1, 2)
    first = await claimed(store, "key")
    await store.finish(first.session_id, SessionState.ENDED, "over")
    assert (await claimed(store, "key")).session_id != first.session_id


# --- agents that do not answer -------------------------------------------------------------------------


async def test_evicted_then_another_is_claimed(store: RedisStore, hosts: RedisHosts) -> None:
    await warm(store, 1, 2)
    first = await claimed(store, "key")
    assert await store.evict(first.session_id, first.fence, "key", "silent", "r") is True
    assert await store.evict(first.session_id, first.fence, "key", "silent", "r") is False
    second = await claimed(store, "key")
    assert second.session_id != first.session_id
    assert second.fence > first.fence
    session = await store.get(first.session_id)
    assert session is not None
    assert (session.state, session.error, session.error_code) == (SessionState.FAILED, "silent", "agent_unresponsive")
    told = [fields["type"] for _, fields in await hosts.commands(HOST, "0", 10)]
    assert told == ["assign", "end", "assign"], "its host ends it"
    assert (await store.counts(0)).dead_claims == 1


async def test_who_asked_last_evicts(store: RedisStore) -> None:
    """The request came again: who waits for its agent's answer now may still hear that it took the session."""
    await warm(store, 1, 2)
    first = await claimed(store, "key", reply="r1")
    again = await claimed(store, "key", reply="r2")
    assert (again.session_id, again.fence) == (first.session_id, first.fence)
    with pytest.raises(StartUnderWayError):
        await store.evict(first.session_id, first.fence, "key", "silent", "r1")
    assert (await claimed(store, "key", reply="r3")).session_id == first.session_id
    with pytest.raises(StartUnderWayError):
        await store.evict(first.session_id, first.fence, "key", "silent", "r2")
    assert await store.evict(first.session_id, first.fence, "key", "silent", "r3") is True
    assert (await claimed(store, "key", reply="r4")).session_id != first.session_id


@pytest.mark.parametrize("how", ["another fence", "active", "ended"])
async def test_one_that_moved_on_is_not_evicted(store: RedisStore, how: str) -> None:
    await warm(store, 1)
    claim = await claimed(store, "key")
    fence = claim.fence
    if how == "another fence":
        fence -= 1
    elif how == "active":
        await store.mark_active(claim.session_id)
    else:
        await store.finish(claim.session_id, SessionState.ENDED, "over")
    before = await store.get(claim.session_id)
    assert await store.evict(claim.session_id, fence, "key", "silent", "r") is False
    assert await store.get(claim.session_id) == before
    assert (await store.counts(0)).dead_claims == 0


async def test_an_eviction_forgets_only_its_own_claim(store: RedisStore) -> None:
    await warm(store, 1, 2)
    first = await claimed(store, "key")
    await store.evict(first.session_id, first.fence, "key", "silent", "r")
    second = await claimed(store, "key")
    await store.evict(first.session_id, first.fence, "key", "late", "r")
    assert (await claimed(store, "key")).session_id == second.session_id


async def test_a_released_claim(store: RedisStore) -> None:
    await warm(store, 1, 2)
    first = await claimed(store, "key")
    await store.release_claim("key", "prewarm_another")
    assert (await claimed(store, "key")).session_id == first.session_id, "not this one's to release"
    await store.release_claim("key", first.session_id)
    second = await claimed(store, "key")
    assert second.session_id != first.session_id
    kept = await store.get(first.session_id)
    assert kept is not None
    assert kept.state is SessionState.ASSIGNED, "its agent is not ended: it talks with somebody"


# --- cold starts ---------------------------------------------------------------------------------------


async def test_cold_up_to_capacity_then_a_queue_then_full(store: RedisStore) -> None:
    limits = Limits(max_agents=3, max_queue=2, spawn_concurrency=4, spawn_deadline_s=20)
    await warm(store, 1)
    places = [await store.reserve_cold(start_request(), cold_id(i), f"t{i}", limits) for i in range(4)]
    assert places == [
        Queued(cold_id(0), dispatched=True, position=1),
        Queued(cold_id(1), dispatched=True, position=2),
        Queued(cold_id(2), dispatched=False, position=3),
        Queued(cold_id(3), dispatched=False, position=4),
    ]
    with pytest.raises(Exception, match="busy") as raised:
        await store.reserve_cold(start_request(), cold_id(4), "t4", limits)
    assert getattr(raised.value, "code", None) == "at_capacity"
    assert await store.get(cold_id(4)) is None
    sessions = [await store.get(cold_id(i)) for i in range(4)]
    assert [s and s.queue_position for s in sessions] == [1, 2, 3, 4]
    assert [s and s.state for s in sessions] == [SessionState.STARTING] * 4
    assert sessions[2] is not None
    assert (sessions[2].user_id, sessions[2].task_id, sessions[2].prewarmed) == ("user-1", "t2", False)


async def test_without_a_queue_full_is_at_once(store: RedisStore) -> None:
    limits = Limits(max_agents=1, max_queue=0, spawn_concurrency=4, spawn_deadline_s=20)
    await warm(store, 1)
    with pytest.raises(Exception, match="busy"):
        await store.reserve_cold(start_request(), cold_id(4), "t4", limits)


async def test_nobody_overtakes_who_waits(store: RedisStore) -> None:
    full = Limits(max_agents=1, max_queue=5, spawn_concurrency=4, spawn_deadline_s=20)
    await warm(store, 1)
    await store.reserve_cold(start_request(), cold_id(1), "t", full)
    later = await store.reserve_cold(start_request(), cold_id(2), "t", LIMITS)
    assert isinstance(later, Queued)
    assert later.dispatched is False


async def test_the_same_cold_request_is_told_of_the_same_session(store: RedisStore) -> None:
    request = start_request("key")
    await store.reserve_cold(request, cold_id(1), "t1", LIMITS)
    again = await store.reserve_cold(request, cold_id(2), "t2", LIMITS)
    assert again == Queued(cold_id(1), dispatched=True, position=1, fresh=False)
    claim = await store.claim(request, "r")
    assert isinstance(claim, Queued)
    assert (claim.session_id, claim.fresh) == (cold_id(1), False)
    assert await store.get(cold_id(2)) is None
    assert (await store.counts(0)).spawning == 1


async def test_the_driver_sent_the_reservation_again(store: RedisStore) -> None:
    """Its first answer was lost, so nobody has queued the spawn: the second one is as good as the first."""
    request = start_request("key")
    first = await store.reserve_cold(request, cold_id(1), "t1", LIMITS)
    assert await store.reserve_cold(request, cold_id(1), "t1", LIMITS) == first
    assert (await store.counts(0)).spawning == 1


async def test_a_waiting_request_sent_again_keeps_its_place(store: RedisStore) -> None:
    full = Limits(max_agents=1, max_queue=5, spawn_concurrency=4, spawn_deadline_s=20)
    await warm(store, 1)
    for i in range(3):
        await store.reserve_cold(start_request(f"key{i}"), cold_id(i), "t", full)
    again = await store.reserve_cold(start_request("key1"), cold_id(9), "t", full)
    assert again == Queued(cold_id(1), dispatched=False, position=2, fresh=False)


async def test_the_same_request_twice_at_once_has_one_agent(store: RedisStore) -> None:
    """One copy found the pool empty; the other claimed what came into it; the first then asks for a cold one.

    Of an agent that has not acknowledged yet it is not told: that one may still be evicted.
    """
    request = start_request("key")
    assert await store.claim(request, "r1") == NoneReady()
    [session_id] = await warm(store, 1)
    await claimed(store, "key")
    with pytest.raises(StartUnderWayError):
        await store.reserve_cold(request, cold_id(1), "t", LIMITS)
    await store.mark_active(session_id)
    late = await store.reserve_cold(request, cold_id(1), "t", LIMITS)
    assert isinstance(late, Queued)
    assert (late.session_id, late.fresh) == (session_id, False)
    assert await store.get(cold_id(1)) is None


async def test_a_cold_start_after_all_claims_were_evicted(store: RedisStore) -> None:
    await warm(store, 1)
    claim = await claimed(store, "key")
    await store.evict(claim.session_id, claim.fence, "key", "silent", "r")
    assert await store.claim(start_request("key"), "r") == NoneReady()
    queued = await store.reserve_cold(start_request("key"), cold_id(1), "t", LIMITS)
    assert queued == Queued(cold_id(1), dispatched=True, position=1)
