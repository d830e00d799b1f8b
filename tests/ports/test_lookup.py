"""Looking for sessions by an id's beginning or a user, and who waits."""

from __future__ import annotations

import pytest

from contract.states import SessionState
from orchestrator.adapters import redis_lookup
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_lookup import RedisLookup
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import InvalidRequestError, SessionNotFoundError
from orchestrator.records import Limits, QueuedUser, Search
from tests.support.records import LIMITS, beat, claimed, cold_id, start_request, warm, warm_id

S = SessionState
ALL = list(S)


@pytest.fixture
def lookup(client: Client) -> RedisLookup:
    return RedisLookup(client)


async def found(
    lookup: RedisLookup, search: Search, *, limit: int = 10, states: list[SessionState] = ALL
) -> tuple[list[str], int]:
    """All that there is, page by page, and how many pages it took."""
    ids: list[str] = []
    cursor, pages = None, 0
    while True:
        page = await lookup.find(states, search, limit, cursor)
        assert len(page.sessions) <= limit
        ids += [session.session_id for session in page.sessions]
        cursor, pages = page.cursor, pages + 1
        if cursor is None:
            return ids, pages


def starting_with(start: str) -> Search:
    return Search(start, start)


@pytest.mark.parametrize("limit", [1, 2, 3, 50])
@pytest.mark.parametrize(("part", "parts"), [(1, 40), (2, 40), (3, 1), (500, 40)])
async def test_all_of_them_newest_first(
    store: RedisStore, hosts: RedisHosts, lookup: RedisLookup, monkeypatch: pytest.MonkeyPatch,
    limit: int, part: int, parts: int,
) -> None:  # fmt: skip
    monkeypatch.setattr(redis_lookup, "SEARCH_PART", part)
    monkeypatch.setattr(redis_lookup, "SEARCH_PARTS", parts)
    await beat(hosts)
    await warm(store, *range(1, 8))
    mine = [(await claimed(store, user="ada")).session_id for _ in range(2)]
    await claimed(store, user="ad")
    await claimed(store, user="adam")
    await store.mark_active(mine[1])
    await store.retire(9, "smaller")  # three that ended at one moment
    await store.reserve_cold(start_request(user="ada"), cold_id(1), "t", LIMITS)
    of_ada, _ = await found(lookup, Search(None, "ada"), limit=limit)
    assert of_ada == [cold_id(1), mine[0], mine[1]]
    everything, _ = await found(lookup, starting_with("prewarm_0000"), limit=limit)
    assert sorted(everything) == [warm_id(number) for number in range(1, 8)]
    assert everything[-3:] == sorted(everything[-3:], reverse=True)


async def test_a_page_may_be_short_and_not_the_last(
    store: RedisStore, lookup: RedisLookup, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_lookup, "SEARCH_PART", 2)
    monkeypatch.setattr(redis_lookup, "SEARCH_PARTS", 2)
    await warm(store, *range(1, 12))
    page = await lookup.find([S.READY], starting_with(warm_id(2)), 5, None)
    assert (page.sessions, page.cursor is not None) == ([], True)
    ids, pages = await found(lookup, starting_with(warm_id(2)), states=[S.READY])
    assert ids == [warm_id(2)]
    assert 2 <= pages <= 4


async def test_only_these_states(store: RedisStore, lookup: RedisLookup) -> None:
    await warm(store, 1, 2)
    await store.finish(warm_id(1), S.ENDED, "x")
    assert await found(lookup, starting_with("prewarm_"), states=[S.READY]) == ([warm_id(2)], 1)
    assert await found(lookup, starting_with("prewarm_"), states=[S.ENDED, S.FAILED]) == ([warm_id(1)], 1)


async def test_an_id_is_not_a_pattern(store: RedisStore, lookup: RedisLookup) -> None:
    await warm(store, 1)
    for start in ("prewarm_*", "prewarm_.", "prewarm_%d", "^prew", warm_id(1) + "0"):
        assert await found(lookup, starting_with(start)) == ([], 1), start
    assert await found(lookup, starting_with(warm_id(1))) == ([warm_id(1)], 1)


async def test_a_record_that_expired_is_left_out(store: RedisStore, lookup: RedisLookup, client: Client) -> None:
    await warm(store, 1, 2)
    await store.finish(warm_id(1), S.ENDED, "x")
    record = await client.hgetall(f"session:{warm_id(1)}")
    await client.delete(f"session:{warm_id(1)}")
    assert await found(lookup, starting_with("prewarm_")) == ([warm_id(2)], 1)
    await client.hset(f"session:{warm_id(1)}", mapping=record)
    await client.expire(f"session:{warm_id(1)}", 60)


@pytest.mark.parametrize("cursor", ["x", "ready|x|y", "ready||y", "ready|nan|y", "gone||", "ended||", "ready|5"])
async def test_a_cursor_that_is_none(lookup: RedisLookup, cursor: str) -> None:
    with pytest.raises(InvalidRequestError, match="cursor"):
        await lookup.find([S.READY], starting_with("prewarm_"), 2, cursor)


async def test_who_waits(store: RedisStore, lookup: RedisLookup) -> None:
    tight = Limits(max_agents=3, max_queue=9, spawn_concurrency=9, spawn_deadline_s=20)
    assert await lookup.queue(20) == []
    await store.reserve_warm(warm_id(1), 9, tight)
    for number in range(1, 6):
        await store.reserve_cold(start_request(user=f"user-{number}"), cold_id(number), "t", tight)
    queue = await lookup.queue(20)
    assert [(user.session_id, user.user_id) for user in queue] == [
        (cold_id(number), f"user-{number}") for number in range(1, 6)
    ]
    for user in queue:
        session = await store.get(user.session_id)
        assert session is not None
        assert user == QueuedUser(user.session_id, session.user_id, session.queue_position or 0, session.created_at)
    assert [user.position for user in queue] == [2, 3, 4, 5, 6], "the pool's own spawn is before them"
    assert await lookup.queue(1) == queue[:1]
    assert await lookup.queue(3) == queue[:3]


# --- what a user's page measured -----------------------------------------------------------------------


async def test_the_first_timeline_counts(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts)
    await warm(store, 1)
    session_id = (await claimed(store)).session_id
    marks = {"click": 0.0, "answer": 12.25, "firstSound": 700.0}
    assert await store.keep_timeline(session_id, marks) is True
    assert await store.keep_timeline(session_id, {"click": 0, "answer": 1}) is False
    session = await store.get(session_id)
    assert session is not None
    assert session.marks == marks
    await store.finish(session_id, S.ENDED, "x")
    assert await store.keep_timeline(session_id, marks) is False


async def test_nobodys_session_has_no_timeline(store: RedisStore) -> None:
    await warm(store, 1)
    for session_id in (warm_id(1), warm_id(404)):
        with pytest.raises(SessionNotFoundError):
            await store.keep_timeline(session_id, {"click": 0})
