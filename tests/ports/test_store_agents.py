"""What a host says of its agents, in every state that the store may have them in."""

from __future__ import annotations

import pytest

from contract import keys
from contract.states import FINAL_STATES, SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.records import SPAWN_BOUNDS_S, Limits, RecordOutcome, Session
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

WARM, COLD = warm_id(1), cold_id(1)
S = SessionState


@pytest.fixture(autouse=True)
async def _live_host(hosts: RedisHosts) -> None:
    await beat(hosts)


async def put(store: RedisStore, situation: str) -> tuple[str, int]:
    """Bring one session into this situation; returns its id and its fence (77 when it has none)."""
    fence = 77
    match situation:
        case "missing":
            return WARM, fence
        case "starting warm":
            await store.reserve_warm(WARM, 5, LIMITS)
            return WARM, fence
        case "starting cold":
            await store.reserve_cold(start_request(), COLD, "t", LIMITS)
            return COLD, fence
    await store.record_agent(agent_record(WARM))
    if situation in {"assigned", "active"}:
        fence = (await claimed(store)).fence
    if situation == "active":
        await store.mark_active(WARM)
    if situation in {"ended", "failed"}:
        await store.finish(WARM, SessionState(situation), "over")
    return WARM, fence


# Per store's state and agent's state: accepted, the state after, whether its host is told to assign it, prewarmed.
EXPECTED = {
    ("missing", S.READY): (True, S.READY, False, False),
    ("missing", S.ASSIGNED): (True, S.ASSIGNED, False, True),
    ("missing", S.ACTIVE): (True, S.ACTIVE, False, True),
    ("starting warm", S.READY): (True, S.READY, False, False),
    ("starting warm", S.ASSIGNED): (True, S.ASSIGNED, False, True),
    ("starting warm", S.ACTIVE): (True, S.ACTIVE, False, True),
    ("starting cold", S.READY): (True, S.ASSIGNED, True, False),
    ("starting cold", S.ASSIGNED): (True, S.ASSIGNED, False, False),
    ("starting cold", S.ACTIVE): (True, S.ACTIVE, False, False),
    ("ready", S.READY): (True, S.READY, False, False),
    ("ready", S.ASSIGNED): (True, S.ASSIGNED, False, True),
    ("ready", S.ACTIVE): (True, S.ACTIVE, False, True),
    ("assigned", S.READY): (True, S.ASSIGNED, True, True),
    ("assigned", S.ASSIGNED): (True, S.ASSIGNED, False, True),
    ("assigned", S.ACTIVE): (True, S.ACTIVE, False, True),
    ("active", S.READY): (True, S.ACTIVE, True, True),
    ("active", S.ASSIGNED): (True, S.ACTIVE, False, True),
    ("active", S.ACTIVE): (True, S.ACTIVE, False, True),
    ("ended", S.READY): (False, S.ENDED, False, False),
    ("ended", S.ASSIGNED): (False, S.ENDED, False, False),
    ("ended", S.ACTIVE): (False, S.ENDED, False, False),
    ("failed", S.READY): (False, S.FAILED, False, False),
    ("failed", S.ASSIGNED): (False, S.FAILED, False, False),
    ("failed", S.ACTIVE): (False, S.FAILED, False, False),
}
MATRIX = [pytest.param(*key, *value, id=f"{key[0]}-{key[1]}") for key, value in EXPECTED.items()]


async def session_of(store: RedisStore, session_id: str) -> Session:
    session = await store.get(session_id)
    assert session is not None
    return session


@pytest.mark.parametrize(("situation", "state", "accepted", "after", "assigns", "prewarmed"), MATRIX)
async def test_the_agent_itself(
    store: RedisStore,
    client: Client,
    situation: str,
    state: SessionState,
    accepted: bool,
    after: SessionState,
    assigns: bool,
    prewarmed: bool,
) -> None:
    session_id, fence = await put(store, situation)
    user = "user-9" if fence == 77 else "user-1"
    record = agent_record(session_id, state, fence=fence, user=user)
    for _ in range(2):  # said twice it is the same: hosts say it every few seconds
        outcome = await store.record_agent(record)
        assert outcome.accepted is accepted
        assert (outcome.assignment is not None) is assigns
        session = await session_of(store, session_id)
        assert session.state is after
        assert session.prewarmed is prewarmed
        assert (await client.sismember(keys.POOL_READY, session_id)) == (after is S.READY)
        if accepted:
            assert (session.host, session.agent_pid, session.boot_id) == (HOST, 4242, "boot-1")
            assert session.agent_ticks == 5242
            assert session.startup_s == pytest.approx(0.12)
            assert session_id in await store.owned_by(HOST)
        else:
            assert session_id not in await store.owned_by(HOST)
        if state is not S.READY and accepted:
            assert (session.fence, session.user_id) == (fence, user)
        if outcome.assignment is not None:
            assert outcome.assignment.session_id == session_id
            assert outcome.assignment.fence == session.fence > 0
            assert (outcome.assignment.user_id, outcome.assignment.metadata) == ("user-1", {"n": 1})
        if after is S.ACTIVE:
            assert session.active_at is not None
        if after in {S.ASSIGNED, S.ACTIVE}:
            assert session.assigned_at is not None
        counts = await store.counts(0)
        assert (counts.spawning, counts.warming) == (0, 0)


FOREIGN = {
    "another host": identity("host-2"),
    "another process": identity(pid=4243),
    "a reused pid": identity().__class__(HOST, "boot-1", 4242, 9),
    "another boot": identity().__class__(HOST, "boot-2", 4242, 5242),
}


@pytest.mark.parametrize("state", [S.READY, S.ASSIGNED, S.ACTIVE])
@pytest.mark.parametrize("situation", ["ready", "assigned", "active", "ended", "failed"])
@pytest.mark.parametrize("who", FOREIGN)
async def test_a_foreign_agent_changes_nothing(
    store: RedisStore, client: Client, situation: str, state: SessionState, who: str
) -> None:
    session_id, fence = await put(store, situation)
    before = await session_of(store, session_id)
    outcome = await store.record_agent(agent_record(session_id, state, who=FOREIGN[who], fence=fence))
    assert outcome == RecordOutcome(accepted=False)
    assert await session_of(store, session_id) == before
    assert await store.owned_by("host-2") == set()
    assert (await client.sismember(keys.POOL_READY, session_id)) == (situation == "ready")


@pytest.mark.parametrize("situation", ["missing", "starting warm", "starting cold"])
async def test_an_agent_from_any_host_may_be_the_first(store: RedisStore, situation: str) -> None:
    session_id, _ = await put(store, situation)
    outcome = await store.record_agent(agent_record(session_id, who=identity("host-2")))
    assert outcome.accepted
    assert (await session_of(store, session_id)).host == "host-2"


@pytest.mark.parametrize("state", [S.ASSIGNED, S.ACTIVE])
@pytest.mark.parametrize("situation", ["ready", "assigned", "active"])
async def test_what_an_agent_was_assigned_stands(store: RedisStore, situation: str, state: SessionState) -> None:
    """The store lost its last second, and then gave the agent to somebody else: the agent knows better."""
    session_id, _ = await put(store, situation)
    await store.record_agent(agent_record(session_id, state, fence=5, user="user-first"))
    session = await session_of(store, session_id)
    assert (session.fence, session.user_id) == (5, "user-first")


@pytest.mark.parametrize("state", [S.ASSIGNED, S.ACTIVE])
@pytest.mark.parametrize("situation", ["assigned", "active"])
async def test_an_agents_own_word_moves_no_session_to_another_user(
    store: RedisStore, client: Client, situation: str, state: SessionState
) -> None:
    """Its host was restarted, and has only the agent's word of whose it is."""
    session_id, fence = await put(store, situation)
    before = await client.hgetall(keys.session(session_id))
    last = await client.get(keys.STATS_FENCE)
    for said in (5, fence + 1_000_000):
        record = agent_record(session_id, state, fence=said, user="victim-user", hearsay=True)
        assert (await store.record_agent(record)).accepted, "it is the session's agent"
    after = await client.hgetall(keys.session(session_id))
    for known in ("userId", "userName", "fence", "assignment"):
        assert after.get(known) == before.get(known), known
    assert await client.get(keys.STATS_FENCE) == last


async def test_an_agents_own_word_takes_no_session_from_the_one_who_waits_for_it(store: RedisStore) -> None:
    session_id, _ = await put(store, "starting cold")
    record = agent_record(session_id, S.ASSIGNED, fence=5, user="victim-user", hearsay=True)
    assert (await store.record_agent(record)).accepted
    session = await session_of(store, session_id)
    assert (session.state, session.user_id, session.fence) == (S.ASSIGNED, "user-1", 5)


@pytest.mark.parametrize("situation", ["missing", "starting warm", "ready"])
async def test_where_the_store_lost_a_claim_the_agents_own_word_is_taken(store: RedisStore, situation: str) -> None:
    session_id, _ = await put(store, situation)
    ahead = int(await store.now() * 1_000_000) + 3_600_000_000
    record = agent_record(session_id, S.ACTIVE, fence=ahead, user="user-first", hearsay=True)
    assert (await store.record_agent(record)).accepted
    session = await session_of(store, session_id)
    assert (session.state, session.fence, session.user_id) == (S.ACTIVE, ahead, "user-first")


@pytest.mark.parametrize("situation", ["missing", "starting warm", "starting cold", "ready", "assigned", "active"])
async def test_a_fence_that_cannot_be_is_refused_and_moves_nothing(
    store: RedisStore, client: Client, situation: str
) -> None:
    """It would be the greatest for ever: no claim could pass it, and each would evict a sound agent."""
    session_id, _ = await put(store, situation)
    before, last = await store.get(session_id), await client.get(keys.STATS_FENCE)
    record = agent_record(session_id, S.ASSIGNED, fence=2**53 - 1, user="victim-user", hearsay=True)
    assert await store.record_agent(record) == RecordOutcome(accepted=False)
    assert await store.get(session_id) == before
    assert await client.get(keys.STATS_FENCE) == last
    await warm(store, 2, 3)
    first = (await claimed(store)).fence
    assert (await claimed(store)).fence > first


@pytest.mark.parametrize("situation", ["missing", "starting warm", "ready", "assigned"])
async def test_the_next_fence_is_above_every_one_ever_heard_of(
    store: RedisStore, client: Client, situation: str
) -> None:
    session_id, _ = await put(store, situation)
    ahead = int(await store.now() * 1_000_000) + 3_600_000_000
    await store.record_agent(agent_record(session_id, S.ASSIGNED, fence=ahead))
    assert int(await client.get(keys.STATS_FENCE)) == ahead
    await warm(store, 2)
    assert (await claimed(store)).fence == ahead + 1


async def test_the_fence_never_goes_back(store: RedisStore, client: Client) -> None:
    await warm(store, 1, 2)
    last = (await claimed(store)).fence
    await store.record_agent(agent_record(warm_id(3), S.ASSIGNED, fence=5))
    assert int(await client.get(keys.STATS_FENCE)) == last
    assert (await claimed(store)).fence > last


async def test_the_fence_grows_when_its_counter_was_lost(store: RedisStore, client: Client) -> None:
    await warm(store, 1, 2)
    last = (await claimed(store)).fence
    await client.delete(keys.STATS_FENCE)
    assert (await claimed(store)).fence > last


async def test_an_empty_store_is_rebuilt_from_its_agents(store: RedisStore, client: Client, hosts: RedisHosts) -> None:
    await warm(store, 1, 2, 3)
    first, second = await claimed(store, user="a"), await claimed(store, user="b")
    await store.mark_active(second.session_id)
    waiting = (set(map(warm_id, (1, 2, 3))) - {first.session_id, second.session_id}).pop()
    await client.flushall()
    await beat(hosts)

    await store.record_agent(agent_record(waiting))
    await store.record_agent(agent_record(first.session_id, S.ASSIGNED, fence=first.fence, user="a"))
    await store.record_agent(agent_record(second.session_id, S.ACTIVE, fence=second.fence, user="b"))
    counts = await store.counts(0)
    assert {state: n for state, n in counts.by_state.items() if n} == {S.READY: 1, S.ASSIGNED: 1, S.ACTIVE: 1}
    assert (await claimed(store)).session_id == waiting
    assert (await session_of(store, first.session_id)).user_id == "a"
    assert (await session_of(store, first.session_id)).created_at == 1000.5


async def test_a_claim_that_was_lost_is_told_again(store: RedisStore, hosts: RedisHosts) -> None:
    """Its host was away when the command was sent, and the user is in the room already."""
    await warm(store, 1)
    claim = await claimed(store)
    await store.mark_active(claim.session_id)
    outcome = await store.record_agent(agent_record(claim.session_id, who=identity(pid=1)))
    assert outcome.assignment is not None
    assert outcome.assignment.fence == claim.fence


async def test_an_agent_left_out_by_a_claim_comes_back_into_the_pool(store: RedisStore, hosts: RedisHosts) -> None:
    await hosts.sign_off(HOST)
    await warm(store, 1)
    await store.claim(start_request(), "r")
    assert (await store.counts(0)).pool_ready == 0
    await beat(hosts)
    await warm(store, 1)
    assert (await claimed(store)).session_id == warm_id(1)


# --- spawning ------------------------------------------------------------------------------------------


async def test_each_try_is_counted_until_the_agent_is_there(store: RedisStore) -> None:
    await store.reserve_warm(WARM, 5, LIMITS)
    assert [await store.begin_spawn(WARM, 20) for _ in range(3)] == [1, 2, 3]
    await store.record_agent(agent_record(WARM))
    assert await store.begin_spawn(WARM, 20) == 0
    assert (await session_of(store, WARM)).attempts == 3


@pytest.mark.parametrize("situation", ["missing", "ready", "assigned", "active", "ended", "failed"])
async def test_nothing_is_begun_for_who_needs_no_agent(store: RedisStore, situation: str) -> None:
    session_id, _ = await put(store, situation)
    assert await store.begin_spawn(session_id, 20) == 0
    assert (await store.counts(0)).spawning == 0


async def test_who_waits_for_capacity_is_not_begun_and_keeps_the_place(store: RedisStore) -> None:
    full = Limits(max_agents=1, max_queue=5, spawn_concurrency=4, spawn_deadline_s=20)
    await warm(store, 2)
    await store.reserve_cold(start_request(), COLD, "t", full)
    assert await store.begin_spawn(COLD, 20) == 0
    assert (await session_of(store, COLD)).queue_position == 1
    await store.retire(1, "smaller")
    assert await store.dispatch(COLD, full)
    assert await store.begin_spawn(COLD, 20) == 1


async def test_a_try_moves_the_deadline(store: RedisStore) -> None:
    await store.reserve_warm(WARM, 5, LIMITS)
    [before] = (await store.snapshot()).spawning
    await store.begin_spawn(WARM, 100)
    [after] = (await store.snapshot()).spawning
    now = await store.now()
    assert now < before.deadline <= now + 20 < after.deadline <= now + 100
    assert (before.attempts, after.attempts, after.warm) == (0, 1, True)


async def test_an_overdue_spawn_is_queued_again_by_one_refill(store: RedisStore) -> None:
    await store.reserve_warm(WARM, 5, LIMITS)
    assert await store.respawn(WARM, 20) is False, "not overdue"
    await store.begin_spawn(WARM, -1)
    assert [await store.respawn(WARM, 20) for _ in range(2)] == [True, False]
    await store.begin_spawn(WARM, -1)
    await store.record_agent(agent_record(WARM))
    assert await store.respawn(WARM, 20) is False


async def test_warm_reservations_stop_at_each_limit(store: RedisStore) -> None:
    async def made(target: int, limits: Limits = LIMITS, start: int = 0) -> int:
        return sum([await store.reserve_warm(warm_id(start + i), target, limits) for i in range(20)])

    few = Limits(max_agents=3, max_queue=0, spawn_concurrency=10, spawn_deadline_s=20)
    assert await made(0) == 0
    assert await made(2) == 2, "the target"
    assert await made(9, few, 100) == 1, "the most agents"
    assert await made(9, LIMITS, 200) == 1, "the concurrency"
    counts = await store.counts(0)
    assert (counts.warming, counts.spawning, counts.agents) == (4, 4, 4)


async def test_the_pools_ready_agents_count_towards_its_target(store: RedisStore) -> None:
    await warm(store, 1, 2)
    assert await store.reserve_warm(warm_id(3), 3, LIMITS) is True
    assert await store.reserve_warm(warm_id(4), 3, LIMITS) is False


async def test_dispatch_needs_capacity_a_free_spawn_and_somebody_who_waits(store: RedisStore) -> None:
    def limits(agents: int, spawns: int = 4) -> Limits:
        return Limits(agents, 5, spawns, 20.0)

    await warm(store, 1)
    for i in (1, 2):
        await store.reserve_cold(start_request(), cold_id(i), "t", limits(1))
    assert await store.dispatch(COLD, limits(1)) is False
    assert await store.dispatch(COLD, limits(2)) is True
    assert await store.dispatch(COLD, limits(9)) is False, "once"
    assert await store.dispatch(cold_id(2), limits(9, 1)) is False
    assert await store.dispatch(cold_id(2), limits(9, 2)) is True
    assert await store.dispatch(cold_id(3), limits(9)) is False
    snapshot = await store.snapshot()
    assert [(s.session_id, s.warm) for s in snapshot.spawning] == [(COLD, False), (cold_id(2), False)]
    assert snapshot.waiting == ()


async def test_spawn_times_are_measured_once_for_each_agent(store: RedisStore) -> None:
    for number, startup_s in enumerate((0.04, 0.12, 0.12, 11.0)):
        await store.reserve_warm(warm_id(number), 9, LIMITS)
        for _ in range(2):
            await store.record_agent(agent_record(warm_id(number), startup_s=startup_s))
    await store.count_spawn_failure("agent_failed")
    await store.count_spawn_failure("agent_failed")
    stats = await store.spawn_stats()
    assert sorted(stats.recent_s) == [0.04, 0.12, 0.12, 11.0]
    assert stats.buckets["count"] == 4
    assert stats.buckets["sum"] == pytest.approx(11.28)
    by_bound = {bound: stats.buckets.get(str(bound), 0) for bound in SPAWN_BOUNDS_S}
    assert by_bound == {bound: (1 if bound < 0.12 else 3) for bound in SPAWN_BOUNDS_S}
    assert stats.failures == {"agent_failed": 2}
    assert (await store.counts(0)).total_spawned == 4


async def test_the_newest_hundred_spawn_times_are_kept(store: RedisStore) -> None:
    limits = Limits(1000, 0, 1000, 20.0)
    for number in range(105):
        await store.reserve_warm(warm_id(number), 1000, limits)
        await store.record_agent(agent_record(warm_id(number), startup_s=number / 100))
    recent = (await store.spawn_stats()).recent_s
    assert len(recent) == 100
    assert min(recent) == pytest.approx(0.05)


# --- the ends ------------------------------------------------------------------------------------------

LIVE = ["starting warm", "starting cold", "ready", "assigned", "active"]


@pytest.mark.parametrize("final", FINAL_STATES)
@pytest.mark.parametrize("situation", LIVE)
async def test_finish_from_each_live_state_and_only_once(
    store: RedisStore, hosts: RedisHosts, client: Client, situation: str, final: SessionState
) -> None:
    session_id, _ = await put(store, situation)
    previous = SessionState(situation.split(maxsplit=1)[0])
    host = None if previous is S.STARTING else HOST
    done = await store.finish(session_id, final, "because", code="why")
    assert (done.changed, done.previous, done.host) == (True, previous, host)
    session = await session_of(store, session_id)
    assert (session.state, session.end_reason) == (final, "because")
    assert session.ended_at is not None
    assert (session.error, session.error_code) == (("because", "why") if final is S.FAILED else (None, None))
    other = S.ENDED if final is S.FAILED else S.FAILED
    again = await store.finish(session_id, other, "no")
    assert (again.changed, again.previous) == (False, final)
    assert await session_of(store, session_id) == session
    told = [fields for _, fields in await hosts.commands(HOST, "0", 10) if fields["type"] == "end"]
    assert told == ([{"type": "end", "session": session_id, "reason": "because"}] if host else [])
    counts = await store.counts(0)
    assert (counts.pool_ready, counts.warming, counts.spawning, counts.waiting) == (0, 0, 0, 0)
    assert 86_000 < await client.ttl(keys.session(session_id)) <= 86_400


async def test_finish_what_waits_for_capacity(store: RedisStore) -> None:
    full = Limits(max_agents=1, max_queue=5, spawn_concurrency=4, spawn_deadline_s=20)
    await warm(store, 2)
    await store.reserve_cold(start_request(), COLD, "t", full)
    assert (await store.finish(COLD, S.ENDED, "gone")).changed
    assert (await store.counts(0)).waiting == 0


async def test_finish_what_is_not_there(store: RedisStore, client: Client) -> None:
    done = await store.finish(warm_id(404), S.ENDED, "x")
    assert (done.changed, done.previous, done.host) == (False, None, None)


@pytest.mark.parametrize("situation", LIVE)
async def test_finish_only_from_some_states(store: RedisStore, situation: str) -> None:
    session_id, _ = await put(store, situation)
    state = SessionState(situation.split(maxsplit=1)[0])
    others = [s for s in SessionState if s is not state]
    left = await store.finish(session_id, S.ENDED, "x", only_from=others)
    assert (left.changed, left.previous) == (False, state)
    assert (await session_of(store, session_id)).state is state
    assert (await store.finish(session_id, S.ENDED, "x", only_from=[S.FAILED, state])).changed


async def test_retire(store: RedisStore, hosts: RedisHosts) -> None:
    ids = await warm(store, 1, 2, 3)
    kept = (await claimed(store)).session_id
    gone = await store.retire(5, "smaller")
    assert sorted([*gone, kept]) == ids
    assert await store.retire(5, "smaller") == []
    assert (await session_of(store, kept)).state is S.ASSIGNED
    assert {(await session_of(store, i)).state for i in gone} == {S.ENDED}
    told = [f["session"] for _, f in await hosts.commands(HOST, "0", 10) if f["type"] == "end"]
    assert sorted(told) == sorted(gone)
    assert await store.owned_by(HOST) == {kept}


async def test_retire_no_more_than_asked(store: RedisStore) -> None:
    await warm(store, 1, 2, 3)
    assert len(await store.retire(2, "smaller")) == 2
    assert (await store.counts(0)).pool_ready == 1


async def test_two_who_saw_the_same_pool_retire_what_one_would(store: RedisStore) -> None:
    await warm(store, 1, 2, 3, 4)
    retired = [await store.retire(3, "smaller", leaving=1) for _ in range(2)]
    assert [len(ids) for ids in retired] == [3, 0]
    assert (await store.counts(0)).pool_ready == 1


async def test_mark_active_and_touch(store: RedisStore) -> None:
    [session_id] = await warm(store, 1)
    assert await store.mark_active(session_id) is False, "nobody's"
    await claimed(store)
    assert await store.mark_active(session_id) is True
    first = (await session_of(store, session_id)).active_at
    assert await store.mark_active(session_id) is True
    assert (await session_of(store, session_id)).active_at == first
    await store.touch(session_id, user_left=True)
    left = (await session_of(store, session_id)).user_left_at
    assert left is not None
    await store.touch(session_id)
    assert (await session_of(store, session_id)).user_left_at == left
    await store.touch(session_id, user_left=False)
    assert (await session_of(store, session_id)).user_left_at is None
    await store.finish(session_id, S.ENDED, "over")
    assert await store.mark_active(session_id) is False
    await store.touch(session_id, user_left=True)
    assert (await store.counts(0)).by_state[S.ACTIVE] == 0


async def test_nobody_leaves_a_call_that_is_over(store: RedisStore) -> None:
    session_id = warm_id(1)
    await store.record_agent(agent_record(session_id, S.ACTIVE))
    await store.finish(session_id, S.ENDED, "the button")
    await store.touch(session_id, user_left=True)
    assert (await session_of(store, session_id)).user_left_at is None


@pytest.mark.parametrize("call", ["seen", "token_made", "touch", "mark_active"])
async def test_a_session_that_is_gone_stays_gone(store: RedisStore, client: Client, call: str) -> None:
    await getattr(store, call)(warm_id(404))
    assert await client.exists(keys.session(warm_id(404))) == 0
