"""Starting a session: hand out an agent that acknowledges, else have one started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from contract.states import SessionState
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import AtCapacityError, IdempotencyConflictError, StartUnderWayError
from orchestrator.records import Answered, HostReply, Limits
from orchestrator.services.start import Handed, Starting, StartSession, request_digests
from orchestrator.services.waits import TYPICAL_SPAWN_S
from tests.support.fakes import FakeHosts, FakeTaskQueue, fake_client
from tests.support.invariants import check_everything
from tests.support.records import LIMITS, agent_record, beat, cold_id, start_request, warm, warm_id

YES = HostReply(ok=True)
TAKEN = HostReply(ok=False, reason="taken")
BROKEN = HostReply(ok=False, reason="its room is gone")
TRIES = 3


@dataclass
class Scene:
    """A store in this process with a live host, and what the service talks to."""

    store: RedisStore
    hosts: FakeHosts = field(default_factory=FakeHosts)
    queue: FakeTaskQueue = field(default_factory=FakeTaskQueue)

    def start(self, limits: Limits = LIMITS) -> StartSession:
        return StartSession(self.store, self.hosts, self.queue, limits, ack_timeout_s=0.25, claim_tries=TRIES)

    async def state(self, session_id: str) -> SessionState:
        session = await self.store.get(session_id)
        assert session is not None
        return session.state


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    client = fake_client()
    await beat(RedisHosts(client))
    yield Scene(RedisStore(client))
    await check_everything(client)
    await client.aclose()


async def test_an_agent_that_acknowledges_is_handed_out(scene: Scene) -> None:
    [session_id] = await warm(scene.store, 1)
    scene.hosts.replies = [YES]
    handed = await scene.start()(start_request())
    assert isinstance(handed, Handed)
    assert (handed.session_id, handed.refill, handed.dead) == (session_id, True, 0)
    assert await scene.state(session_id) is SessionState.ASSIGNED
    assert scene.queue.spawned == []


@pytest.mark.parametrize("reply", [None, BROKEN])
async def test_one_that_does_not_is_evicted_and_the_next_is_tried(scene: Scene, reply: HostReply | None) -> None:
    ids = await warm(scene.store, 1, 2)
    scene.hosts.replies = [reply, YES]
    handed = await scene.start()(start_request())
    assert isinstance(handed, Handed)
    assert handed.dead == 1
    assert handed.refill, "what the dead agent's claim said of a refill is not lost"
    [dead] = set(ids) - {handed.session_id}
    session = await scene.store.get(dead)
    assert session is not None
    assert session.state is SessionState.FAILED
    assert session.error is not None
    assert ("acknowledge" if reply is None else "its room is gone") in session.error
    assert len(set(scene.hosts.asked)) == 2, "each try has a reply of its own"


async def test_one_that_came_again_leaves_a_silent_agent_to_the_later_request(scene: Scene) -> None:
    """Neither may be told of a session that the other one then fails."""
    ids = await warm(scene.store, 1, 2)
    scene.hosts.replies = [None]
    scene.hosts.meanwhile = lambda: scene.store.claim(start_request("key"), "another's")
    with pytest.raises(StartUnderWayError):
        await scene.start()(start_request("key"))
    assert [await scene.state(one) for one in ids].count(SessionState.ASSIGNED) == 1, "the later one's"

    scene.hosts.meanwhile, scene.hosts.replies = None, [None, YES]
    handed = await scene.start()(start_request("key"))
    assert isinstance(handed, Handed)
    assert handed.dead == 1
    assert await scene.state(handed.session_id) is SessionState.ASSIGNED
    assert scene.queue.spawned == []


@pytest.mark.parametrize("late", [YES, BROKEN, None])
async def test_a_host_that_lives_is_waited_for(scene: Scene, late: HostReply | None) -> None:
    """It would have said that its agent is hung: both lack a processor, and another agent would, too."""
    [session_id] = await warm(scene.store, 1)
    scene.hosts.heard, scene.hosts.replies = True, [None, late]
    started = await scene.start()(start_request())
    assert len(scene.hosts.asked) == 2
    assert len(set(scene.hosts.asked)) == 1, "the reply to the same claim"
    assert started.dead == (0 if late is YES else 1)
    assert await scene.state(session_id) is (SessionState.ASSIGNED if late is YES else SessionState.FAILED)


async def test_a_start_waits_for_late_ones_so_long_and_no_longer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many it meets."""
    monkeypatch.setattr("orchestrator.services.start.LATE_S", 0.0)
    await warm(scene.store, 1, 2)
    scene.hosts.heard, scene.hosts.replies = True, [None, None, YES]
    starting = await scene.start()(start_request())
    assert isinstance(starting, Starting)
    assert (starting.dead, len(scene.hosts.asked)) == (2, 2)


async def test_the_last_claim_is_made_in_time_for_an_answer(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.services.start.LAST_CLAIM_S", -1.0)
    await warm(scene.store, 1)
    starting = await scene.start()(start_request())
    assert isinstance(starting, Starting)
    assert scene.hosts.asked == []


async def test_one_that_is_somebody_elses_is_left_alone(scene: Scene) -> None:
    ids = await warm(scene.store, 1, 2)
    scene.hosts.replies = [TAKEN, YES]
    handed = await scene.start()(start_request("key"))
    assert isinstance(handed, Handed)
    [taken] = set(ids) - {handed.session_id}
    assert await scene.state(taken) is SessionState.ASSIGNED
    assert (await scene.store.counts(0)).dead_claims == 0


async def test_after_so_many_tries_one_is_started(scene: Scene) -> None:
    await warm(scene.store, *range(TRIES + 2))
    starting = await scene.start()(start_request())
    assert isinstance(starting, Starting)
    assert (starting.dead, starting.refill, starting.position) == (TRIES, True, 1)
    assert len(scene.hosts.asked) == TRIES
    counts = await scene.store.counts(0)
    assert (counts.dead_claims, counts.pool_ready, counts.spawning) == (TRIES, 2, 1)
    assert scene.queue.spawned == [(starting.session_id, True)]


async def test_an_empty_pool(scene: Scene) -> None:
    before = await scene.store.now()
    starting = await scene.start()(start_request())
    assert isinstance(starting, Starting)
    session = await scene.store.get(starting.session_id)
    assert session is not None
    assert (session.state, session.user_id) == (SessionState.STARTING, "user-1")
    assert (starting.task_id, starting.created_at) == (session.task_id, session.created_at)
    assert starting.task_id
    assert starting.created_at >= before
    assert (starting.position, starting.refill, starting.dead) == (1, False, 0)
    assert starting.estimated_wait_s == TYPICAL_SPAWN_S
    assert scene.queue.spawned == [(starting.session_id, True)], "at the front"


async def test_the_estimate_is_made_of_measured_spawns(scene: Scene) -> None:
    for number, startup_s in enumerate((0.1, 0.2, 9.0)):
        await scene.store.reserve_warm(warm_id(number), 9, LIMITS)
        await scene.store.record_agent(agent_record(warm_id(number), startup_s=startup_s))
    await scene.store.retire(9, "smaller")
    starts = [await scene.start()(start_request()) for _ in range(5)]
    waits = [start.estimated_wait_s for start in starts if isinstance(start, Starting)]
    assert waits == pytest.approx([0.2, 0.2, 0.2, 0.2, 0.4]), "the median; four at a time"


async def test_a_queue_and_then_no_more(scene: Scene) -> None:
    tight = Limits(max_agents=1, max_queue=2, spawn_concurrency=4, spawn_deadline_s=20)
    starts = [await scene.start(tight)(start_request()) for _ in range(3)]
    assert [start.position for start in starts if isinstance(start, Starting)] == [1, 2, 3]
    assert len(scene.queue.spawned) == 1, "who waits for capacity is not spawned yet"
    with pytest.raises(AtCapacityError) as raised:
        await scene.start(tight)(start_request())
    assert raised.value.retry_after_s


async def test_the_same_request_has_the_same_outcome(scene: Scene) -> None:
    await warm(scene.store, 1, 2)
    scene.hosts.replies = [YES, YES]
    request = start_request("key")
    first, second = await scene.start()(request), await scene.start()(request)
    assert isinstance(first, Handed)
    assert isinstance(second, Handed)
    assert first.session_id == second.session_id
    await scene.store.keep_answer("key", "told", 60)
    assert await scene.start()(request) == Answered("told")
    with pytest.raises(IdempotencyConflictError):
        await scene.start()(start_request("key", body="other"))


async def test_the_same_cold_request_is_spawned_once(scene: Scene) -> None:
    request = start_request("key")
    other = await scene.start()(start_request())
    first, second = await scene.start()(request), await scene.start()(request)
    assert isinstance(other, Starting)
    assert isinstance(first, Starting)
    assert isinstance(second, Starting)
    assert (second.session_id, second.task_id, second.position) == (first.session_id, first.task_id, 2)
    assert [i for i, _ in scene.queue.spawned] == [other.session_id, first.session_id]
    await scene.store.keep_answer("key", "told", 60)
    assert await scene.start()(request) == Answered("told")


async def test_an_answer_kept_between_the_claim_and_the_reservation(scene: Scene) -> None:
    await scene.store.reserve_cold(start_request("key"), cold_id(1), "t", LIMITS)
    await scene.store.keep_answer("key", "told", 60)
    assert await scene.start()._spawn(start_request("key"), 0, refill=False) == Answered("told")
    assert scene.queue.spawned == []


def test_digests_are_the_callers_own() -> None:
    key, body, keep_s = request_digests("alice", "k1", b"{}")
    assert keep_s == 86_400
    assert request_digests("alice", "k1", b"{}") == (key, body, keep_s)
    assert request_digests("bob", "k1", b"{}")[0] != key
    assert request_digests("alice", "k2", b"{}")[0] != key
    assert request_digests("alice", "k1", b"{ }")[1] != body


def test_a_request_without_a_key_is_remembered_for_its_driver_only() -> None:
    first, second = request_digests("alice", None, b"{}"), request_digests("alice", None, b"{}")
    assert first[0] != second[0]
    assert first[2] == 60
