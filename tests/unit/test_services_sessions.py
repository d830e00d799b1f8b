"""One session after its start: looked at, joined, left, ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import RoomsUnavailableError, SessionEndedError, SessionNotFoundError
from orchestrator.records import Session
from orchestrator.services.pool import KeepPool, ReapAges
from orchestrator.services.sessions import Sessions
from tests.support.fakes import FakeHosts, FakeRooms, FakeTaskQueue, fake_client
from tests.support.invariants import check_everything
from tests.support.records import HOST, LIMITS, agent_record, beat, claimed, cold_id, start_request, warm, warm_id

S = SessionState


@dataclass
class Scene:
    client: Client
    hosts: FakeHosts = field(default_factory=FakeHosts)
    queue: FakeTaskQueue = field(default_factory=FakeTaskQueue)
    rooms: FakeRooms = field(default_factory=FakeRooms)

    def __post_init__(self) -> None:
        self.store = RedisStore(self.client)
        registry = RedisHosts(self.client)
        pool = KeepPool(self.store, registry, self.queue, LIMITS, ReapAges(60, 60, 60, 60), default_target=3)
        self.sessions = Sessions(self.store, self.hosts, pool, self.rooms)

    async def session(self, session_id: str) -> Session:
        session = await self.store.get(session_id)
        assert session is not None
        return session


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    client = fake_client()
    await beat(RedisHosts(client))
    yield Scene(client)
    await check_everything(client)
    await client.aclose()


async def test_one_that_is_unknown(scene: Scene) -> None:
    sessions = scene.sessions
    for call in (sessions.get, sessions.joinable):
        with pytest.raises(SessionNotFoundError):
            await call(warm_id(404))
    with pytest.raises(SessionNotFoundError):
        await sessions.end(warm_id(404), "x")
    with pytest.raises(SessionNotFoundError):
        await sessions.logs(warm_id(404), 5)
    await sessions.user_joined(warm_id(404))
    await sessions.user_left(warm_id(404))
    await sessions.room_closed(warm_id(404), "RM_1")


async def test_asking_keeps_a_waiting_callers_place(scene: Scene) -> None:
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await scene.client.hset(f"session:{cold_id(1)}", "lastSeenAt", "1")
    assert (await scene.sessions.get(cold_id(1))).queue_position == 1
    assert float(str(await scene.client.hget(f"session:{cold_id(1)}", "lastSeenAt"))) > 1


async def test_end_twice(scene: Scene) -> None:
    [session_id] = await warm(scene.store, 1)
    first = await scene.sessions.end(session_id, "the caller asked")
    second = await scene.sessions.end(session_id, "again")
    assert (first.changed, second.changed) == (True, False)
    assert (await scene.session(session_id)).end_reason == "the caller asked"
    assert scene.queue.refills == 1


async def test_a_token_is_for_who_may_join(scene: Scene) -> None:
    await warm(scene.store, 1)
    session_id = (await claimed(scene.store)).session_id
    assert (await scene.sessions.joinable(session_id)).session_id == session_id
    assert (await scene.session(session_id)).token_at is not None
    await scene.sessions.end(session_id, "x")
    with pytest.raises(SessionEndedError):
        await scene.sessions.joinable(session_id)


async def test_joined_left_and_back(scene: Scene) -> None:
    await warm(scene.store, 1)
    session_id = (await claimed(scene.store)).session_id
    await scene.sessions.user_joined(session_id)
    assert (await scene.session(session_id)).state is S.ACTIVE
    await scene.sessions.user_left(session_id)
    assert (await scene.session(session_id)).user_left_at is not None
    await scene.sessions.user_joined(session_id)
    assert (await scene.session(session_id)).user_left_at is None


async def test_a_closed_room_ends_its_session_once(scene: Scene) -> None:
    await warm(scene.store, 1)
    session_id = (await claimed(scene.store)).session_id
    await scene.store.refill_begun()
    for _ in range(2):
        await scene.sessions.room_closed(session_id, "RM_1")
    assert (await scene.session(session_id)).end_reason == "its room was closed"
    assert scene.queue.refills == 1


async def test_a_room_that_livekit_has_not_forgotten_yet_is_closed_all_the_same(scene: Scene) -> None:
    await warm(scene.store, 1)
    session_id = (await claimed(scene.store)).session_id
    scene.rooms.sids[session_id] = "RM_1"
    await scene.sessions.room_closed(session_id, "RM_1")
    assert (await scene.session(session_id)).state is S.ENDED


async def test_who_waits_for_an_agent_outlives_the_room_of_a_spawn_that_was_held_back(scene: Scene) -> None:
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    for is_held in (False, True):
        if is_held:
            assert await scene.store.hold_spawn(cold_id(1), "no memory left", failed=True)
        await scene.sessions.room_closed(cold_id(1), "RM_1")
        session = await scene.session(cold_id(1))
        assert (session.state, session.queue_position) == (S.STARTING, 1)
    assert (await scene.store.counts(0)).waiting == 1


async def test_an_agent_of_the_pool_sees_by_itself_that_its_room_is_gone(scene: Scene) -> None:
    [session_id] = await warm(scene.store, 1)
    await scene.sessions.room_closed(session_id, "RM_1")
    assert (await scene.session(session_id)).state is S.READY


async def test_what_livekit_tells_late_of_an_earlier_room_ends_no_call(scene: Scene) -> None:
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await scene.store.record_agent(agent_record(cold_id(1)))
    scene.rooms.sids[cold_id(1)] = "RM_2"
    await scene.sessions.room_closed(cold_id(1), "RM_1")
    assert (await scene.session(cold_id(1))).state is S.ASSIGNED


async def test_while_livekit_is_away_a_closed_room_is_to_be_told_again(scene: Scene) -> None:
    await warm(scene.store, 1)
    session_id = (await claimed(scene.store)).session_id
    scene.rooms.error = RoomsUnavailableError()
    with pytest.raises(RoomsUnavailableError):
        await scene.sessions.room_closed(session_id, "RM_1")
    assert (await scene.session(session_id)).state is S.ASSIGNED


async def test_logs_come_from_the_agents_host(scene: Scene) -> None:
    await warm(scene.store, 1)
    scene.hosts.lines = [{"text": "hello"}]
    assert await scene.sessions.logs(warm_id(1), 50) == [{"text": "hello"}]
    assert scene.hosts.logs_asked == [(HOST, warm_id(1), 50)]
    await scene.store.reserve_warm(warm_id(2), 9, LIMITS)
    assert await scene.sessions.logs(warm_id(2), 50) == [], "no host has it yet"
