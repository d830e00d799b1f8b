"""Spawning: tries, waits between them, and what is said when none is left."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest

from contract.messages import Spawned
from contract.states import SessionState
from orchestrator.adapters.redis_breakers import RedisBreakers
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.backoff import Backoff
from orchestrator.domain.breaker import BreakerPolicy
from orchestrator.domain.errors import AgentsUnavailableError, HostUnavailableError, RoomsUnavailableError
from orchestrator.records import Death, ReplaceRule
from orchestrator.services.breaker import SpawnBreaker
from orchestrator.services.pool import KeepPool, ReapAges
from orchestrator.services.spawn import HOST_BACKOFF, SpawnAgent, TryAgainError
from tests.support.fakes import FakeLocalHost, FakeRooms, FakeTaskQueue, fake_client
from tests.support.invariants import check_everything
from tests.support.records import (
    HOST,
    LIMITS,
    agent_record,
    beat,
    cold_id,
    host_report,
    identity,
    start_request,
    warm_id,
)

POLICY = BreakerPolicy(failures=4, base_s=2, cap_s=60)
OK = Spawned(ok=True, pid=1, startup_s=0.1)
NOT = Spawned(ok=False, reason="no memory left", code="no_memory")


@dataclass
class Scene:
    client: Client
    rooms: FakeRooms = field(default_factory=FakeRooms)
    host: FakeLocalHost = field(default_factory=FakeLocalHost)
    queue: FakeTaskQueue = field(default_factory=FakeTaskQueue)

    def __post_init__(self) -> None:
        self.store, self.hosts = RedisStore(self.client), RedisHosts(self.client)
        pool = KeepPool(self.store, self.hosts, self.queue, LIMITS, ReapAges(60, 60, 60, 60), default_target=3)
        self.spawn = SpawnAgent(
            self.store,
            self.rooms,
            self.host,
            pool,
            self.queue,
            SpawnBreaker(RedisBreakers(self.client), self.queue, POLICY, draw=lambda: 0.0),
            host_id=HOST,
            timeout_s=7,
            deadline_s=20,
            backoff=Backoff(base_s=1, tries=3),
        )


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    client = fake_client()
    scene = Scene(client)
    await scene.store.reserve_warm(warm_id(1), 9, LIMITS)
    yield scene
    await check_everything(client)
    await client.aclose()


async def test_the_room_first_then_the_agent(scene: Scene) -> None:
    scene.host.outcomes = [OK]
    assert await scene.spawn(warm_id(1)) is True
    assert scene.rooms.made == [warm_id(1)]
    [asked] = scene.host.asked
    assert (asked.session_id, asked.timeout_s) == (warm_id(1), 7)
    assert scene.queue.refills == 1, "the next one may be due"


@pytest.mark.parametrize("state", [None, SessionState.ENDED, SessionState.READY])
async def test_nobody_needs_it_any_more(scene: Scene, state: SessionState | None) -> None:
    session_id = warm_id(404) if state is None else warm_id(1)
    if state is SessionState.ENDED:
        await scene.store.finish(session_id, state, "its caller went away")
    if state is SessionState.READY:
        await scene.store.record_agent(agent_record(session_id))
    assert await scene.spawn(session_id) is False
    assert (scene.rooms.made, scene.host.asked) == ([], [])


@pytest.mark.parametrize(
    ("outcome", "room_error", "code", "reason"),
    [
        (NOT, None, "no_memory", "no memory left"),
        (Spawned(ok=False), None, "agent_failed", "the agent did not start"),
        (OK, RoomsUnavailableError("LiveKit is away"), "livekit_unavailable", "LiveKit is away"),
    ],
)
async def test_three_tries_then_failed_with_the_reason(
    scene: Scene,
    outcome: Spawned,
    room_error: RoomsUnavailableError | None,
    code: str,
    reason: str,
) -> None:
    scene.host.outcomes = [outcome] * 3
    scene.rooms.error = room_error
    for ceiling_s in (1, 2):
        with pytest.raises(TryAgainError, match=reason) as raised:
            await scene.spawn(warm_id(1))
        assert 0 <= raised.value.delay_s <= ceiling_s
        session = await scene.store.get(warm_id(1))
        assert session is not None
        assert session.state is SessionState.STARTING
    assert await scene.spawn(warm_id(1)) is False
    session = await scene.store.get(warm_id(1))
    assert session is not None
    assert (session.state, session.error, session.error_code) == (SessionState.FAILED, reason, "spawn_failed")
    assert session.attempts == 3
    assert (await scene.store.spawn_stats()).failures == {code: 3}
    assert (await scene.store.counts(0)).spawning == 0
    assert scene.queue.refills == 0, "no hot loop: the clock tries again"


async def test_a_host_that_restarts_is_waited_for(scene: Scene) -> None:
    scene.host.outcomes = [HostUnavailableError("away")] * HOST_BACKOFF.tries
    waits = 0.0
    for _ in range(HOST_BACKOFF.tries - 1):
        with pytest.raises(TryAgainError, match="away") as raised:
            await scene.spawn(warm_id(1))
        waits += raised.value.delay_s
    assert 15 < waits < 30
    assert await scene.spawn(warm_id(1)) is False
    session = await scene.store.get(warm_id(1))
    assert session is not None
    assert (session.state, session.error) == (SessionState.FAILED, "away")


async def test_a_second_try_that_succeeds(scene: Scene) -> None:
    scene.host.outcomes = [NOT, OK]
    with pytest.raises(TryAgainError):
        await scene.spawn(warm_id(1))
    assert await scene.spawn(warm_id(1)) is True


async def test_an_agent_that_came_although_its_answer_was_lost_is_kept(scene: Scene) -> None:
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await scene.store.begin_spawn(cold_id(1), 20)
    await scene.store.begin_spawn(cold_id(1), 20)

    class LosesItsAnswer(FakeLocalHost):
        async def spawn(self, request: object) -> Spawned:
            await scene.store.record_agent(agent_record(cold_id(1)))
            raise HostUnavailableError

    scene.spawn._host = LosesItsAnswer()
    with pytest.raises(TryAgainError):
        await scene.spawn(cold_id(1))
    assert await scene.spawn(cold_id(1)) is False, "it needs no agent any more"
    session = await scene.store.get(cold_id(1))
    assert session is not None
    assert session.state is SessionState.ASSIGNED


# --- on a host that drains -----------------------------------------------------------------------------


@pytest.fixture
async def draining(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> Scene:
    monkeypatch.setattr("orchestrator.services.spawn.BACK_PAUSE_S", 0)
    await beat(scene.hosts)
    await scene.hosts.drain(HOST)
    return scene


async def test_a_spawn_goes_back_for_another_host_and_costs_no_try(draining: Scene) -> None:
    await beat(draining.hosts, "other")
    await draining.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    assert await draining.spawn(warm_id(1)) is False
    assert await draining.spawn(cold_id(1)) is False
    assert draining.queue.spawned == [(warm_id(1), False), (cold_id(1), True)]
    assert (draining.rooms.made, draining.host.asked) == ([], [])
    for session_id in (warm_id(1), cold_id(1)):
        session = await draining.store.get(session_id)
        assert session is not None
        assert (session.state, session.attempts) == (SessionState.STARTING, 0)
    assert (await draining.store.spawn_stats()).failures == {}


async def test_a_host_that_is_full_has_no_room_made_and_another_host_does_it(scene: Scene) -> None:
    await scene.hosts.heartbeat(replace(host_report(), capacity=0), 60)
    await beat(scene.hosts, "other")
    assert await scene.spawn(warm_id(1)) is False
    assert scene.queue.spawned == [(warm_id(1), False)]
    assert (scene.rooms.made, scene.host.asked) == ([], [])


async def test_one_that_the_host_itself_finds_too_many_waits_in_its_place(scene: Scene) -> None:
    await beat(scene.hosts)
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    scene.host.outcomes = [Spawned(ok=False, code="host_full", reason="this host has 3 agents; memory: …")]
    assert await scene.spawn(cold_id(1)) is False
    assert scene.queue.spawned == [], "its only host has no room"
    user = await scene.store.get(cold_id(1))
    assert user is not None
    assert (user.state, user.attempts) == (SessionState.STARTING, 0)
    assert (await scene.store.counts(0)).waiting == 1
    assert (await scene.store.spawn_stats()).failures == {}, "a full host is no failure"


async def test_one_that_met_the_drain_in_its_middle_costs_no_try_either(scene: Scene) -> None:
    await beat(scene.hosts)
    scene.host.outcomes = [NOT, Spawned(ok=False, code="host_draining", reason="this host drains")]
    with pytest.raises(TryAgainError):
        await scene.spawn(warm_id(1))
    assert await scene.spawn(warm_id(1)) is False
    assert scene.queue.spawned == [(warm_id(1), False)]
    session = await scene.store.get(warm_id(1))
    assert session is not None
    assert (session.state, session.attempts) == (SessionState.STARTING, 1)


async def test_where_all_hosts_drain_a_user_waits_and_the_pool_does_not(draining: Scene) -> None:
    await draining.hosts.undrain(HOST)
    await draining.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await draining.hosts.drain(HOST)
    for session_id in (warm_id(1), cold_id(1)):
        assert await draining.spawn(session_id) is False
    assert draining.queue.spawned == []
    pool, user = await draining.store.get(warm_id(1)), await draining.store.get(cold_id(1))
    assert pool is not None
    assert user is not None
    assert (pool.state, pool.end_reason) == (SessionState.ENDED, "no host takes new sessions")
    assert (user.state, user.queue_position) == (SessionState.STARTING, 1)
    counts = await draining.store.counts(0)
    assert (counts.spawning, counts.warming, counts.waiting) == (0, 0, 1)
    assert draining.rooms.deleted == [warm_id(1), cold_id(1)], "they may have been made for an earlier try"


async def test_check_triggers_a_refill_when_it_ended_something(scene: Scene) -> None:
    assert await scene.spawn.check() == []
    assert scene.queue.refills == 0
    scene.host.ended = [warm_id(1)]
    assert await scene.spawn.check() == [warm_id(1)]
    assert scene.queue.refills == 1


# --- the agent of a session in a call ------------------------------------------------------------------


async def replaced(scene: Scene) -> str:
    session_id = cold_id(1)
    await scene.store.reserve_cold(start_request(), session_id, "t", LIMITS)
    await scene.store.record_agent(agent_record(session_id))
    assert await scene.store.replace(session_id, identity(), "x", "agent_died", ReplaceRule(2)) is Death.REPLACED
    return session_id


async def test_a_replacement_is_spawned_as_any_other(scene: Scene) -> None:
    session_id = await replaced(scene)
    scene.host.outcomes = [OK]
    assert await scene.spawn(session_id, "task") is True
    assert scene.rooms.deleted == []
    assert [asked.in_call for asked in scene.host.asked] == [True]


async def test_a_replacement_that_a_draining_host_refuses_is_queued_again_and_keeps_its_room(scene: Scene) -> None:
    session_id = await replaced(scene)
    scene.host.outcomes = [Spawned(ok=False, code="host_draining", reason="this host drains")]
    assert await scene.spawn(session_id, "task") is False
    assert (scene.queue.spawned, scene.rooms.deleted) == ([(session_id, True)], [])


async def test_a_replacement_without_a_try_left_fails_its_session(scene: Scene) -> None:
    session_id = await replaced(scene)
    scene.host.outcomes = [NOT] * 3
    for _ in range(2):
        with pytest.raises(TryAgainError):
            await scene.spawn(session_id, "task")
    assert await scene.spawn(session_id, "task") is False
    session = await scene.store.get(session_id)
    assert session is not None
    assert (session.state, session.error, session.error_code) == (SessionState.FAILED, "no memory left", "spawn_failed")
    assert scene.rooms.deleted == [session_id]


async def test_a_replacement_of_a_session_that_ended_meanwhile_closes_its_room(scene: Scene) -> None:
    session_id = await replaced(scene)
    await scene.store.finish(session_id, SessionState.ENDED, "its caller ended it")
    assert await scene.spawn(session_id) is False
    assert (scene.rooms.made, scene.rooms.deleted) == ([], [session_id])


async def test_an_agent_that_came_after_the_last_try_keeps_its_room(scene: Scene) -> None:
    session_id = await replaced(scene)

    class LosesItsAnswer(FakeLocalHost):
        async def spawn(self, request: object) -> Spawned:
            await scene.store.record_agent(agent_record(session_id, who=identity(pid=2)))
            return NOT

    scene.spawn._host = LosesItsAnswer()
    for _ in range(2):
        await scene.store.begin_spawn(session_id, 20, task="task")
    assert await scene.spawn(session_id, "task") is False
    session = await scene.store.get(session_id)
    assert session is not None
    assert session.agent == identity(pid=2)
    assert scene.rooms.deleted == []


async def test_what_another_host_is_to_start_goes_back_into_the_queue(scene: Scene) -> None:
    await beat(scene.hosts)
    await beat(scene.hosts, "other")
    await scene.store.record_agent(agent_record(warm_id(9)))
    assert await scene.spawn(warm_id(1)) is False
    assert (scene.queue.spawned, scene.host.asked, scene.rooms.made) == ([(warm_id(1), False)], [], [])
    session = await scene.store.get(warm_id(1))
    assert session is not None
    assert (session.state, session.attempts) == (SessionState.STARTING, 0)


# --- spawns that keep failing --------------------------------------------------------------------------


async def fail(scene: Scene, times: int, session_id: str) -> None:
    scene.host.outcomes = [NOT] * times
    for _ in range(times):
        with pytest.raises(TryAgainError):
            await scene.spawn(session_id)


async def test_a_spawn_for_the_pool_that_opens_the_breaker_is_over(scene: Scene) -> None:
    await scene.store.reserve_warm(warm_id(2), 9, LIMITS)
    await fail(scene, 2, warm_id(1))
    await fail(scene, 1, warm_id(2))
    scene.host.outcomes = [NOT]
    assert await scene.spawn(warm_id(2)) is False
    session = await scene.store.get(warm_id(2))
    assert session is not None
    assert (session.state, session.error, session.error_code) == (SessionState.FAILED, "no memory left", "spawn_failed")
    assert scene.queue.later == [1.05]
    asked = len(scene.host.asked)
    assert await scene.spawn(warm_id(1)) is False, "it had a try left"
    other = await scene.store.get(warm_id(1))
    assert other is not None
    assert (other.state, other.end_reason) == (SessionState.ENDED, AgentsUnavailableError().detail)
    assert len(scene.host.asked) == asked, "nothing is tried"


async def test_a_users_spawn_that_opens_the_breaker_waits_in_its_place(scene: Scene) -> None:
    await scene.store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await fail(scene, 2, warm_id(1))
    await fail(scene, 1, cold_id(1))
    scene.host.outcomes = [NOT]
    assert await scene.spawn(cold_id(1)) is False
    session = await scene.store.get(cold_id(1))
    assert session is not None
    assert (session.state, session.queue_position, session.attempts) == (SessionState.STARTING, 2, 2)
    assert (await scene.store.counts(0)).waiting == 1


async def test_one_in_a_call_goes_on_trying_and_its_success_closes_the_breaker(scene: Scene) -> None:
    session_id = await replaced(scene)
    await scene.store.reserve_warm(warm_id(2), 9, LIMITS)
    await fail(scene, 2, warm_id(1))
    await fail(scene, 1, warm_id(2))
    await fail(scene, 1, session_id)
    assert (await scene.store.snapshot()).kinds["default"].may_begin == 0
    scene.host.outcomes = [OK]
    assert await scene.spawn(session_id) is True
    assert (await scene.store.snapshot()).kinds["default"].may_begin is None


async def test_a_host_that_is_away_does_not_open_it(scene: Scene) -> None:
    scene.host.outcomes = [HostUnavailableError()] * 9
    for _ in range(9):
        with pytest.raises(TryAgainError):
            await scene.spawn(warm_id(1))
    assert (await scene.store.snapshot()).kinds["default"].may_begin is None
