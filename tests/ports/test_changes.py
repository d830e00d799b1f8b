"""Notices that sessions changed: who is told, of what, and what is left of the subscription."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from contract.states import SessionState
from orchestrator.adapters import redis_changes
from orchestrator.adapters.redis_changes import IDS_KEPT, ChangeListener, RedisChanges
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.records import ReplaceRule
from tests.support.records import LIMITS, agent_record, beat, claimed, cold_id, identity, start_request, warm, warm_id

S = SessionState


@pytest.fixture
async def changes(client: Client) -> AsyncIterator[RedisChanges]:
    changes = RedisChanges(client)
    yield changes
    await changes.aclose()


async def subscribed(listener: ChangeListener) -> None:
    """What happens from then on is heard."""
    await listener.wait(10)
    assert listener.heard() == ([], True), "what was before was not heard"


async def told(listener: ChangeListener, count: int = 1) -> list[str]:
    """The next sessions that it hears of."""
    found: list[str] = []
    async with asyncio.timeout(10):
        while len(found) < count:
            await listener.wait(10)
            found += listener.heard()[0]
    return found


async def everything_until(listener: ChangeListener, store: RedisStore, client: Client) -> list[str]:
    """What it hears before a notice of the test's own."""
    await client.publish("session-changed", "the-end")
    found: list[str] = []
    async with asyncio.timeout(10):
        while "the-end" not in found:
            await listener.wait(10)
            found += listener.heard()[0]
    return found[: found.index("the-end")]


CHANGES: dict[str, Callable[[RedisStore], Awaitable[object]]] = {
    "claim": claimed,
    "reserve_warm": lambda store: store.reserve_warm(warm_id(8), 9, LIMITS),
    "reserve_cold": lambda store: store.reserve_cold(start_request("another"), cold_id(8), "t", LIMITS),
    "begin_spawn": lambda store: store.begin_spawn(cold_id(1), 20),
    "respawn": lambda store: store.respawn(cold_id(2), 20),
    "dispatch": lambda store: store.dispatch(cold_id(3), LIMITS),
    "record_agent, newly ready": lambda store: store.record_agent(agent_record(cold_id(1))),
    "record_agent, written anew": lambda store: store.record_agent(agent_record(warm_id(9))),
    "record_agent, of another claim": lambda store: store.record_agent(agent_record(warm_id(5), S.ASSIGNED, fence=99)),
    "mark_active": lambda store: store.mark_active(warm_id(5)),
    "touch": lambda store: store.touch(warm_id(6)),
    "touch, the user left": lambda store: store.touch(warm_id(6), user_left=True),
    "finish": lambda store: store.finish(warm_id(6), S.ENDED, "x"),
    "replace": lambda store: store.replace(warm_id(6), identity(), "x", "agent_died", ReplaceRule(2)),
    "replace, past the last": lambda store: store.replace(warm_id(6), identity(), "x", "agent_died", ReplaceRule(0)),
    "retire": lambda store: store.retire(1, "smaller"),
    "evict": lambda store: store.evict(warm_id(5), 77, "key", "x", "r"),
    "token_made": lambda store: store.token_made(warm_id(5)),
    "keep_timeline": lambda store: store.keep_timeline(warm_id(5), {"click": 0}),
}
OF = {
    "reserve_warm": warm_id(8), "reserve_cold": cold_id(8),
    "claim": warm_id(1), "begin_spawn": cold_id(1), "respawn": cold_id(2), "dispatch": cold_id(3),
    "record_agent, newly ready": cold_id(1), "record_agent, written anew": warm_id(9), "retire": warm_id(1),
    "touch": warm_id(6), "touch, the user left": warm_id(6), "finish": warm_id(6),
    "replace": warm_id(6), "replace, past the last": warm_id(6),
}  # fmt: skip


async def sessions_in_every_state(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts)
    await warm(store, 1)
    for number, deadline_s in ((1, 20), (2, -1)):
        await store.reserve_cold(start_request(), cold_id(number), "t", LIMITS)
        await store.begin_spawn(cold_id(number), deadline_s)
    full = LIMITS.__class__(max_agents=1, max_queue=5, spawn_concurrency=4, spawn_deadline_s=20)
    await store.reserve_cold(start_request(), cold_id(3), "t", full)
    await store.record_agent(agent_record(warm_id(5), S.ASSIGNED, fence=77))
    await store.record_agent(agent_record(warm_id(6), S.ACTIVE))


@pytest.mark.parametrize("name", CHANGES)
async def test_each_change_is_told_once(
    store: RedisStore, hosts: RedisHosts, changes: RedisChanges, client: Client, name: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    await sessions_in_every_state(store, hosts)
    with changes.listen() as listener:
        await subscribed(listener)
        notices: list[str] = []  # a listener takes two of one session as one
        tell = changes._tell
        monkeypatch.setattr(changes, "_tell", lambda session_id: (notices.append(session_id), tell(session_id)))
        await CHANGES[name](store)
        assert await everything_until(listener, store, client) == [OF.get(name, warm_id(5))]
        assert notices == [OF.get(name, warm_id(5)), "the-end"]


async def test_what_changes_nothing_is_not_told(
    store: RedisStore, hosts: RedisHosts, changes: RedisChanges, client: Client
) -> None:
    await sessions_in_every_state(store, hosts)
    await store.keep_timeline(warm_id(5), {"click": 0})
    with changes.listen() as listener:
        await subscribed(listener)
        await store.seen(cold_id(1))
        await store.record_agent(agent_record(warm_id(1)))  # as hosts do every few seconds
        await store.record_agent(agent_record(warm_id(5), S.ASSIGNED, fence=77))
        await store.record_agent(agent_record(warm_id(6), S.ACTIVE))
        await store.touch(warm_id(404))
        await store.token_made(warm_id(404))
        await store.finish(warm_id(404), S.ENDED, "x")
        await store.begin_spawn(warm_id(1), 20)
        await store.dispatch(cold_id(1), LIMITS)
        await store.evict(warm_id(5), 1, "key", "x", "r")
        await store.keep_timeline(warm_id(5), {"click": 0, "answer": 1})
        await store.counts(3)
        assert await everything_until(listener, store, client) == []


async def test_a_listener_hears_of_its_own_session(store: RedisStore, hosts: RedisHosts, changes: RedisChanges) -> None:
    await beat(hosts)
    with changes.listen(warm_id(1)) as one, changes.listen(warm_id(2)) as another, changes.listen() as all_of_them:
        await subscribed(one)
        await subscribed(another)
        await subscribed(all_of_them)
        await warm(store, 1, 2)
        assert await told(all_of_them, 2) == [warm_id(1), warm_id(2)]
        assert await told(one) == [warm_id(1)]
        assert await told(another) == [warm_id(2)]


async def test_waiting_comes_to_an_end_without_news(changes: RedisChanges) -> None:
    with changes.listen(warm_id(1)) as listener:
        await subscribed(listener)
        await listener.wait(0.01)
        assert listener.heard() == ([], False)


async def test_a_listener_remembers_so_many_names(changes: RedisChanges) -> None:
    listener = ChangeListener()
    for _ in range(2):
        for number in range(IDS_KEPT):
            listener.tell(warm_id(number))
    assert listener.heard() == ([warm_id(number) for number in range(IDS_KEPT)], False)
    for number in range(IDS_KEPT + 1):
        listener.tell(warm_id(number))
    ids, more = listener.heard()
    assert (len(ids), more) == (IDS_KEPT, True)
    assert listener.heard() == ([], False)


def subscriptions() -> int:
    return sum("_subscribed" in repr(task.get_coro()) for task in asyncio.all_tasks())


async def test_nothing_is_left_when_nobody_listens(changes: RedisChanges) -> None:
    before = asyncio.all_tasks()
    for _ in range(3):  # it comes again after it went
        with changes.listen() as listener:
            await subscribed(listener)
            assert subscriptions() == 1
            with changes.listen(warm_id(1)), changes.listen(warm_id(1)):
                await listener.wait(0)
                assert subscriptions() == 1
        async with asyncio.timeout(10):
            while asyncio.all_tasks() - before:
                await asyncio.sleep(0.001)


async def test_a_subscription_that_breaks_is_made_anew(
    changes: RedisChanges, store: RedisStore, hosts: RedisHosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_changes, "AGAIN", redis_changes.Backoff(base_s=0.001, cap_s=0.001, tries=6))
    await beat(hosts)
    tell, broken = changes._tell, 3

    def sometimes(session_id: str) -> None:
        nonlocal broken
        if broken:
            broken -= 1
            raise ConnectionError("the connection broke")
        tell(session_id)

    monkeypatch.setattr(changes, "_tell", sometimes)
    with changes.listen() as listener:
        for number in range(3):
            await subscribed(listener)
            await warm(store, number)
        await subscribed(listener)
        await warm(store, 5)
        assert await told(listener) == [warm_id(5)]
