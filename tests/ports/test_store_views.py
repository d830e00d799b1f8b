"""Looking: pages, counts, ages; and the pool's size, refills, locks and turns."""

from __future__ import annotations

import asyncio

import pytest

from contract import keys
from contract.messages import Turn
from contract.states import FINAL_STATES, LIVE_STATES, SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import TURNS_KEPT, RedisStore
from orchestrator.domain.errors import InvalidRequestError
from orchestrator.domain.pool import AgedPool, Aging
from orchestrator.records import Counts, KindCounts, Limits
from tests.support.records import (
    HOST,
    LIMITS,
    agent_record,
    beat,
    claimed,
    cold_id,
    start_request,
    warm,
    warm_id,
)

S = SessionState


async def pages(store: RedisStore, states: list[SessionState], limit: int) -> list[str]:
    """All pages, one after another."""
    found: list[str] = []
    cursor = None
    while True:
        page = await store.page(states, limit, cursor)
        assert len(page.sessions) <= limit
        found += [session.session_id for session in page.sessions]
        cursor = page.cursor
        if cursor is None:
            return found
        assert len(page.sessions) == limit, "only the last page is short"


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 11, 12, 50])
async def test_pages_are_whole_and_newest_first(store: RedisStore, hosts: RedisHosts, limit: int) -> None:
    await beat(hosts)
    ready = await warm(store, *range(1, 7))
    starting = [warm_id(number) for number in range(100, 104)]
    for session_id in starting:
        await store.reserve_warm(session_id, 99, LIMITS)
    assigned = (await claimed(store)).session_id
    ready.remove(assigned)
    expected = [*reversed(starting), *reversed(ready), assigned]
    assert await pages(store, list(LIVE_STATES), limit) == expected
    assert await pages(store, [S.READY], limit) == ready[::-1]
    assert await pages(store, [S.FAILED], limit) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 9])
async def test_pages_over_sessions_of_the_same_moment(store: RedisStore, client: Client, limit: int) -> None:
    """One retirement ends many at one moment: their scores are equal."""
    ids = await warm(store, *range(10))
    for number in (3, 7):
        await store.finish(warm_id(number), S.ENDED, "before")
    await store.retire(20, "smaller")
    scores = await client.zrange(keys.sessions_in(S.ENDED), 0, -1, withscores=True)
    assert len({score for _, score in scores}) == 3
    found = await pages(store, [S.ENDED], limit)
    assert sorted(found) == ids
    assert found[-2:] == [warm_id(7), warm_id(3)]


async def test_a_page_goes_on_although_its_last_session_went_away(store: RedisStore) -> None:
    ids = await warm(store, *range(6))
    first = await store.page([S.READY], 2, None)
    await store.finish(first.sessions[-1].session_id, S.ENDED, "x")
    second = await store.page([S.READY], 9, first.cursor)
    assert [s.session_id for s in second.sessions] == ids[3::-1]


@pytest.mark.parametrize(
    "cursor", ["x", "ready|x|y", "ready|nan|y", "ready|inf|y", "gone|1|y", "ended|1.0|y", "a|b|c|d"]
)
async def test_a_cursor_that_is_none(store: RedisStore, cursor: str) -> None:
    with pytest.raises(InvalidRequestError, match="cursor"):
        await store.page([S.READY], 2, cursor)


async def test_counts(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts)
    tight = Limits(max_agents=6, max_queue=5, spawn_concurrency=9, spawn_deadline_s=20)
    await warm(store, 1, 2, 3)
    await claimed(store)
    await store.mark_active((await claimed(store)).session_id)
    await store.reserve_warm(warm_id(9), 5, tight)
    for number in range(3):
        await store.reserve_cold(start_request(), cold_id(number), "t", tight)
    await store.finish(warm_id(9), S.FAILED, "x")
    counts = await store.counts(3)
    assert counts == Counts(
        by_state={S.STARTING: 3, S.READY: 1, S.ASSIGNED: 1, S.ACTIVE: 1, S.ENDED: 0, S.FAILED: 1},
        spawning=2, waiting=1, total_spawned=0, total_assigned=2,
        dead_claims=0, last_refill_at=None, now=counts.now, host_room=997,
        kinds={"default": KindCounts(1, 0, floor=3, waiting=1, measured=counts.kinds["default"].measured)},
    )  # fmt: skip
    assert (counts.pool_ready, counts.warming, counts.floor) == (1, 0, 3)
    assert counts.agents == 5
    snapshot = await store.snapshot()
    assert (snapshot.ready, snapshot.owned, snapshot.agents) == (1, 2, 5)
    [waiter] = snapshot.waiting
    assert waiter.session_id == cold_id(2)
    await store.seen(cold_id(2))
    [later] = (await store.snapshot()).waiting
    assert later.since == waiter.since
    assert later.last_seen > waiter.last_seen


async def test_an_agent_taken_out_of_the_pool_still_counts(store: RedisStore) -> None:
    await warm(store, 1, 2, host="gone")
    await store.claim(start_request(), "r")
    snapshot = await store.snapshot()
    assert (snapshot.ready, snapshot.owned) == (0, 2)


# --- ages ----------------------------------------------------------------------------------------------


async def older_than(store: RedisStore, moment: float) -> None:
    while await store.now() <= moment + 0.001:
        await asyncio.sleep(0)


async def test_aging_tells_each_kind_oldest_first(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts)
    await warm(store, *range(1, 7))
    assigned = [(await claimed(store)).session_id for _ in range(2)]
    active = [(await claimed(store)).session_id for _ in range(2)]
    for session_id in active:
        await store.mark_active(session_id)
    ready = [i for i in map(warm_id, range(1, 7)) if i not in assigned + active]
    await older_than(store, await store.now())
    assert await store.aging(0, 0, 0) == Aging(tuple(assigned), tuple(active), (AgedPool(tuple(ready), 2),))
    assert await store.aging(60, 60, 60) == Aging((), ())
    assert (await store.aging(0, 60, 60)).unclaimed == tuple(assigned)
    assert (await store.aging(60, 0, 60)).inactive == tuple(active)
    assert (await store.aging(60, 60, 0)).pools == (AgedPool(tuple(ready), 2),)


async def test_how_long_the_newest_calls_took(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await beat(hosts)
    for number, ends_as in enumerate((S.ENDED, S.FAILED, S.ENDED), start=1):
        await warm(store, number)
        session_id = (await claimed(store)).session_id
        await client.hset(keys.session(session_id), "assignedAt", f"{await store.now() - 60 * number:.6f}")
        for _ in range(2):
            await store.finish(session_id, ends_as, "the user left")
    assert await store.call_lengths_s() == pytest.approx([180, 60], abs=2), "each once; one that broke says nothing"
    await client.lpush(keys.STATS_CALL_RECENT, *["1"] * 200)
    await warm(store, 4)
    await store.finish((await claimed(store)).session_id, S.ENDED, "the user left")
    assert len(await store.call_lengths_s()) == 100


async def test_a_token_starts_the_lease_anew(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await beat(hosts)
    await warm(store, 1, 2)
    first, second = await claimed(store), await claimed(store)
    for claim in (first, second):
        await client.zadd(keys.sessions_in(S.ASSIGNED), {claim.session_id: claim.assigned_at - 100})
    await store.token_made(first.session_id)
    assert (await store.aging(50, 60, 60)).unclaimed == (second.session_id,)
    session = await store.get(first.session_id)
    assert session is not None
    assert session.token_at is not None


async def test_activity_puts_off_the_end(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts)
    await warm(store, 1, 2)
    first, second = (await claimed(store)).session_id, (await claimed(store)).session_id
    for session_id in (first, second):
        await store.mark_active(session_id)
    await store.touch(first)
    assert (await store.aging(60, -1, 60)).inactive == (second, first)


async def test_forget(store: RedisStore, client: Client) -> None:
    ids = await warm(store, 1, 2, 3)
    await store.finish(ids[0], S.ENDED, "x")
    await store.finish(ids[1], S.FAILED, "x")
    assert await store.forget(60) == 0
    await older_than(store, await store.now())
    assert await store.forget(0) == 2
    assert await pages(store, list(FINAL_STATES), 5) == []
    assert await store.get(ids[0]) is not None, "its record expires by itself"
    assert (await store.counts(0)).pool_ready == 1
    await client.delete(*map(keys.session, ids[:2]))


# --- the pool's size, refills, locks, turns ------------------------------------------------------------


async def test_the_pools_size(store: RedisStore) -> None:
    assert (await store.counts(3)).floor == 3
    assert await store.set_target(0, 3) == 3
    assert (await store.counts(3)).floor == 0
    assert await store.set_target(7, 3) == 0
    assert (await store.counts(3)).floor == 7


async def test_one_refill_is_due_until_it_begins(store: RedisStore, client: Client) -> None:
    assert [await store.refill_due() for _ in range(3)] == [True, False, False]
    assert 0 < await client.pttl(keys.REFILL_PENDING) <= 1000, "a refill that was lost holds up the next for a second"
    before = await store.now()
    await store.refill_begun()
    assert [await store.refill_due() for _ in range(2)] == [True, False]
    last = (await store.counts(0)).last_refill_at
    assert last is not None
    assert before - 0.001 <= last <= await store.now()


async def test_a_claim_asks_for_a_refill_unless_one_is_on_its_way(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts)
    await warm(store, 1, 2, 3)
    assert (await claimed(store)).refill is True
    assert (await claimed(store)).refill is False
    await store.refill_begun()
    assert (await claimed(store)).refill is True


async def test_a_claim_whose_answer_was_lost_still_asks_for_a_refill(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts)
    await warm(store, 1)
    assert (await claimed(store, "key")).refill is True
    assert (await claimed(store, "key")).refill is True


async def test_a_lock_is_its_holders(store: RedisStore, client: Client) -> None:
    assert await store.locked("reap", 5, "mine") is True
    assert await store.locked("reap", 5, "theirs") is False
    assert await store.locked("refill", 5, "theirs") is True
    await store.unlock("reap", "theirs")
    assert await store.locked("reap", 5, "theirs") is False
    assert 0 < await client.pttl(keys.lock("reap")) <= 5000
    await store.unlock("reap", "mine")
    assert await store.locked("reap", 5, "theirs") is True


async def test_a_lock_ends_by_itself(store: RedisStore) -> None:
    assert await store.locked("reap", 0.02, "mine")
    async with asyncio.timeout(10):
        while not await store.locked("reap", 5, "theirs"):
            await asyncio.sleep(0.005)
    await store.unlock("reap", "mine")
    assert await store.locked("reap", 5, "third") is False, "a late holder does not free another's"


async def test_turns_are_kept_in_order_and_bounded(store: RedisStore, client: Client) -> None:
    session_id = warm_id(1)
    assert await store.turns(session_id) == []
    turns = [Turn(role="user", text=f"turn {n}\nÅ", at=float(n)) for n in range(TURNS_KEPT + 5)]
    await asyncio.gather(*(store.add_turn(warm_id(2), turn) for turn in turns[:3]))
    for turn in turns:
        await store.add_turn(session_id, turn)
    assert await store.turns(session_id) == turns[5:]
    assert len(await store.turns(warm_id(2))) == 3
    assert 3500 < await client.ttl(keys.turns(session_id)) <= 3600


async def test_get_nothing(store: RedisStore) -> None:
    assert await store.get(warm_id(1)) is None
    assert await store.owned_by(HOST) == set()


async def test_a_record_holds_what_was_written(store: RedisStore) -> None:
    await store.record_agent(agent_record(warm_id(1), startup_s=None))
    session = await store.get(warm_id(1))
    assert session is not None
    assert (session.startup_s, session.user_id, session.error, session.queue_position) == (None, None, None, None)
    assert session.created_at == 1000.5


async def test_ping(store: RedisStore) -> None:
    await store.ping()
