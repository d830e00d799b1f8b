"""Arrivals and the demand that was noted: counted once, bounded, and the same whoever notes them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.demand import slot_of
from orchestrator.domain.errors import AtCapacityError
from orchestrator.domain.pool import MOST_YIELD_S, Joining
from orchestrator.records import NoneReady
from tests.support.records import LIMITS, beat, claimed, cold_id, start_request, warm


async def arrivals(store: RedisStore) -> int:
    return sum((await store.counts(3)).kinds["default"].measured.arrivals.values())


async def test_each_start_is_one_arrival(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts)
    await warm(store, 1)
    await claimed(store, "a")
    await claimed(store, "a")
    assert await arrivals(store) == 1, "a claim that came again is no other start"
    request = start_request("b")
    assert isinstance(await store.claim(request, "r"), NoneReady)
    assert await arrivals(store) == 1, "who found none is counted where the agent is reserved"
    for _ in range(2):
        await store.reserve_cold(request, cold_id(1), "t", LIMITS)
    assert await arrivals(store) == 2


async def test_who_is_refused_is_no_arrival(store: RedisStore) -> None:
    full = replace(LIMITS, max_agents=1, max_queue=0)
    await store.reserve_cold(start_request(), cold_id(1), "t", full)
    with pytest.raises(AtCapacityError):
        await store.reserve_cold(start_request(), cold_id(2), "t", full)
    assert await arrivals(store) == 1


async def test_old_arrivals_are_forgotten(store: RedisStore, client: Client) -> None:
    slot = slot_of(await store.now())
    old = {slot - i: 1 for i in range(2, 40)} | {slot + 1000: 1}
    await client.hset(keys.POOL_ARRIVALS, mapping=old)
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    left = (await store.counts(3)).kinds["default"].measured.arrivals
    assert len(left) <= keys.ARRIVAL_SLOTS
    assert max(left) <= slot + 1, "nor is a slot kept of a clock that went back"
    assert left[max(left)] == 1


async def test_the_highest_demand_of_a_slot_stays(store: RedisStore) -> None:
    before = slot_of(await store.now())
    await asyncio.gather(*(store.note_demand(value, 300, 5) for value in (1.5, 4.25, 2.0)))
    peaks = (await store.counts(3)).kinds["default"].measured.peaks
    assert max(peaks.values()) == 4.25
    assert min(peaks) >= before
    await store.note_demand(0, 300, 3)
    assert (await store.counts(3)).kinds["default"].measured.peaks == peaks, "nothing is no demand to note"


async def test_demand_is_forgotten_after_the_delay(store: RedisStore, client: Client) -> None:
    slot = slot_of(await store.now())
    await client.hset(keys.POOL_DEMAND, mapping={slot - i: 2.0 for i in range(50)} | {slot + 1000: 9.0})
    await store.note_demand(0, 100, 3)
    left = (await store.counts(3)).kinds["default"].measured.peaks
    assert 10 <= len(left) <= 11
    assert min(left) >= slot - 10
    assert max(left) <= slot


async def test_a_resize_stands_at_once(store: RedisStore, client: Client) -> None:
    await store.note_demand(2.0, 300, 7)
    assert await client.get(keys.POOL_AIM) == "7"
    await store.set_target(4, 3)
    assert await client.get(keys.POOL_AIM) is None


async def test_a_snapshot_says_who_is_about_to_join(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    assert (await store.snapshot()).joining == Joining()
    await beat(hosts, processors=4.0)
    await beat(hosts, "h2", processors=2.0)
    await warm(store, 1, 2, 3)
    before = await store.now()
    first, second = await claimed(store, "a"), await claimed(store, "b")
    joining = (await store.snapshot()).joining
    assert (joining.users, joining.cores) == (2, 6)
    assert joining.lacking_since == pytest.approx(before, abs=1.0)
    await store.mark_active(first.session_id)
    await client.zadd(keys.sessions_in(SessionState.ASSIGNED), {second.session_id: before - MOST_YIELD_S})
    await client.hset(keys.host("h2"), "processors", "1e999")
    joining = (await store.snapshot()).joining
    assert (joining.users, joining.cores) == (0, 4)
