"""An agent died in a call, or its whole host: what the store makes of it, in every state and said twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import HostDrainingError
from orchestrator.records import Claimed, Death, Queued, ReplaceRule, Session
from tests.support.records import (
    HOST,
    LIMITS,
    agent_record,
    beat,
    claimed,
    cold_id,
    host_report,
    identity,
    start_request,
    warm,
    warm_id,
)

S = SessionState
RULE = ReplaceRule(most=2, begin_s=5)
ID = warm_id(1)
FIRST, SECOND, THIRD = identity(pid=1), identity(pid=2), identity("host-2", pid=3)


@pytest.fixture(autouse=True)
async def _live_host(hosts: RedisHosts) -> None:
    await beat(hosts)


async def session_of(store: RedisStore, session_id: str = ID) -> Session:
    session = await store.get(session_id)
    assert session is not None
    return session


async def in_call(store: RedisStore, state: SessionState = S.ACTIVE) -> Claimed:
    """A session of ``FIRST`` that belongs to a user."""
    await warm(store, 1)
    claim = await claimed(store)
    if state is S.ACTIVE:
        await store.mark_active(ID)
    return claim


async def dies(store: RedisStore, agent: object = FIRST, rule: ReplaceRule = RULE) -> Death:
    return await store.replace(ID, agent, "it died", "agent_died", rule)  # type: ignore[arg-type]


@pytest.mark.parametrize("state", [S.ASSIGNED, S.ACTIVE])
async def test_a_session_in_a_call_stays_what_it_is_and_lacks_an_agent(
    store: RedisStore, client: Client, state: SessionState
) -> None:
    claim = await in_call(store, state)
    before = await session_of(store)
    agents = (await store.counts(0)).agents

    assert await dies(store) is Death.REPLACED

    after = await session_of(store)
    assert (after.state, after.user_id, after.assigned_at) == (state, before.user_id, before.assigned_at)
    assert (after.agent, after.host, after.replacements, after.attempts) == (None, None, 1, 0)
    assert after.fence > claim.fence
    assert after.queue_position is None
    assert await store.owned_by(HOST) == set()
    counts, snapshot = await store.counts(0), await store.snapshot()
    assert (counts.spawning, counts.agents, snapshot.agents) == (1, agents, agents), "its place is kept"
    [spawn] = snapshot.spawning
    assert (spawn.session_id, spawn.warm, spawn.attempts, spawn.replaces) == (ID, False, 0, True)
    assert await client.hgetall(keys.STATS_REPLACEMENTS) == {"agent_died": "1"}
    assert (await store.spawn_stats()).replacements == {"agent_died": 1}


async def test_said_again_it_is_queued_again_until_its_spawn_is_begun(store: RedisStore, client: Client) -> None:
    await in_call(store)
    assert await dies(store) is Death.REPLACED
    before = await session_of(store)
    assert await dies(store) is Death.REPLACED
    assert await session_of(store) == before
    assert await store.begin_spawn(ID, 20) == 1
    assert await dies(store) is Death.UNDER_WAY
    await store.record_agent(agent_record(ID, who=SECOND))
    assert await dies(store) is Death.FOREIGN
    assert (await session_of(store)).agent == SECOND
    assert await client.hgetall(keys.STATS_REPLACEMENTS) == {"agent_died": "1"}


@pytest.mark.parametrize("state", [S.ASSIGNED, S.ACTIVE])
async def test_the_successor_is_given_the_assignment_with_a_greater_fence(
    store: RedisStore, state: SessionState
) -> None:
    claim = await in_call(store, state)
    await dies(store)
    await store.begin_spawn(ID, 20)
    spawned = (await store.counts(0)).total_spawned

    for _ in range(2):  # hosts say it every few seconds
        outcome = await store.record_agent(agent_record(ID, who=SECOND))
        assert outcome.assignment is not None
        assert outcome.replaces
        assert outcome.assignment.user_id == "user-1"
        assert outcome.assignment.fence > claim.fence

    session = await session_of(store)
    assert (session.state, session.agent, session.fence) == (state, SECOND, outcome.assignment.fence)
    counts = await store.counts(0)
    assert (counts.spawning, counts.total_spawned) == (0, spawned + 1)
    held = agent_record(ID, state, who=SECOND, fence=session.fence, user="user-1")
    assert await store.record_agent(held) == (await store.record_agent(held))
    assert (await store.record_agent(held)).accepted
    assert await store.owned_by(HOST) == {ID}


async def test_the_first_agent_of_a_session_replaces_nobody(store: RedisStore) -> None:
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    outcome = await store.record_agent(agent_record(cold_id(1)))
    assert outcome.assignment is not None
    assert not outcome.replaces


@pytest.mark.parametrize("state", [S.READY, S.ASSIGNED, S.ACTIVE])
@pytest.mark.parametrize("successor", ["none yet", "there"])
async def test_the_one_before_is_refused_should_it_still_live(
    store: RedisStore, state: SessionState, successor: str
) -> None:
    """It may even not know yet that it was claimed."""
    claim = await in_call(store)
    await dies(store)
    if successor == "there":
        await store.record_agent(agent_record(ID, who=SECOND))
    before = await session_of(store)
    outcome = await store.record_agent(agent_record(ID, state, who=FIRST, fence=claim.fence, user="user-1"))
    assert not outcome.accepted
    assert await session_of(store) == before


@pytest.mark.parametrize("state", [S.ASSIGNED, S.ACTIVE])
async def test_a_smaller_fence_is_refused_when_its_identity_is_not_known(
    store: RedisStore, client: Client, state: SessionState
) -> None:
    claim = await in_call(store)
    await dies(store)
    await client.hdel(keys.session(ID), "replaced")
    old = agent_record(ID, state, who=FIRST, fence=claim.fence, user="user-1")
    assert not (await store.record_agent(old)).accepted


@pytest.mark.parametrize("lost", ["the successor", "the whole replacement"])
async def test_a_store_that_lost_its_last_second_keeps_the_successor(
    store: RedisStore, client: Client, lost: str
) -> None:
    """The fence tells which of two agents came later."""
    claim = await in_call(store)
    dumped = await client.hgetall(keys.session(ID))
    await dies(store)
    if lost == "the successor":
        dumped = await client.hgetall(keys.session(ID))
    fence = (await session_of(store)).fence
    await store.record_agent(agent_record(ID, who=THIRD))
    await client.delete(keys.session(ID), keys.host_sessions("host-2"))
    await client.hset(keys.session(ID), mapping=dumped)
    if lost == "the whole replacement":
        await client.sadd(keys.host_sessions(HOST), ID)
    else:
        await client.zadd(keys.POOL_SPAWNING, {ID: await store.now() + 5})

    held = agent_record(ID, S.ACTIVE, who=THIRD, fence=fence, user="user-1")
    assert (await store.record_agent(held)).accepted
    assert (await session_of(store)).agent == THIRD
    assert await store.owned_by(HOST) == set()
    assert await store.owned_by("host-2") == {ID}
    old = agent_record(ID, S.ACTIVE, who=FIRST, fence=claim.fence, user="user-1")
    assert not (await store.record_agent(old)).accepted


async def test_past_the_last_replacement_the_session_fails_with_the_reason(store: RedisStore) -> None:
    await in_call(store)
    rule = ReplaceRule(most=1)
    assert await dies(store, rule=rule) is Death.REPLACED
    await store.record_agent(agent_record(ID, who=SECOND))
    assert await dies(store, SECOND, rule) is Death.FAILED
    session = await session_of(store)
    assert (session.state, session.error_code, session.replacements) == (S.FAILED, "agent_died", 1)
    assert session.error == "it died; its agent was replaced 1 times before"
    assert await dies(store, SECOND, rule) is Death.OVER


async def test_none_is_replaced_when_none_may_be(store: RedisStore) -> None:
    await in_call(store)
    assert await dies(store, rule=ReplaceRule(most=0)) is Death.FAILED
    assert (await session_of(store)).error == "it died"


async def test_who_is_in_no_call_fails(store: RedisStore) -> None:
    await warm(store, 1)
    assert await dies(store) is Death.FAILED
    assert (await session_of(store)).state is S.FAILED
    assert (await store.counts(0)).pool_ready == 0


@pytest.mark.parametrize("state", [S.READY, S.ASSIGNED, S.ACTIVE])
async def test_the_death_of_another_agent_changes_nothing(store: RedisStore, state: SessionState) -> None:
    await (warm(store, 1) if state is S.READY else in_call(store, state))
    before = await session_of(store)
    assert await dies(store, SECOND) is Death.FOREIGN
    assert await session_of(store) == before


async def test_one_that_is_starting_has_tries_left(store: RedisStore) -> None:
    await store.reserve_warm(ID, 5, LIMITS)
    assert await dies(store) is Death.STARTING
    assert (await session_of(store)).state is S.STARTING


@pytest.mark.parametrize("state", [None, S.ENDED, S.FAILED])
async def test_what_is_over_stays_over(store: RedisStore, state: SessionState | None) -> None:
    if state is not None:
        await in_call(store)
        await store.finish(ID, state, "x")
    assert await dies(store) is Death.OVER


# --- what happens meanwhile ----------------------------------------------------------------------------


@pytest.mark.parametrize("end", [S.ENDED, S.FAILED])
async def test_a_session_may_end_while_it_has_no_agent(store: RedisStore, end: SessionState) -> None:
    await in_call(store)
    await dies(store)
    assert (await store.finish(ID, end, "its caller ended it")).changed
    assert (await store.counts(0)).spawning == 0
    assert await store.begin_spawn(ID, 20) == 0
    assert not (await store.record_agent(agent_record(ID, who=SECOND))).accepted


async def test_its_user_may_come_while_it_has_no_agent(store: RedisStore) -> None:
    await in_call(store, S.ASSIGNED)
    await dies(store)
    assert await store.mark_active(ID)
    outcome = await store.record_agent(agent_record(ID, who=SECOND))
    assert outcome.assignment is not None
    assert (await session_of(store)).state is S.ACTIVE


async def test_inactivity_and_the_lease_count_on(store: RedisStore) -> None:
    await in_call(store)
    await dies(store)
    assert (await store.aging(60, -1, 60)).inactive == (ID,)


async def test_a_claim_that_is_sent_again_waits_for_the_successor(store: RedisStore) -> None:
    await warm(store, 1)
    request = start_request("key")
    assert isinstance(await store.claim(request, "r"), Claimed)
    await dies(store)
    assert await store.claim(request, "r2") == Queued(ID, dispatched=True, position=1, fresh=False)


async def test_a_claim_without_an_answer_leaves_no_replacement_behind(store: RedisStore, client: Client) -> None:
    """The agent died before it acknowledged, and its host was faster than the caller's patience."""
    await warm(store, 1)
    outcome = await store.claim(start_request("key"), "r")
    assert isinstance(outcome, Claimed)
    await dies(store)
    assert await store.evict(ID, outcome.fence, "key", "it did not acknowledge", "r")
    assert (await session_of(store)).state is S.FAILED
    assert (await store.counts(0)).spawning == 0


# --- its spawn -----------------------------------------------------------------------------------------


async def test_a_replacement_has_tries_of_its_own(store: RedisStore) -> None:
    await store.reserve_cold(start_request(), ID, "t", LIMITS)
    await store.begin_spawn(ID, 20)
    await store.begin_spawn(ID, 20)
    await store.record_agent(agent_record(ID, who=FIRST))
    await dies(store)
    assert await store.begin_spawn(ID, 20) == 1
    assert await store.begin_spawn(ID, -1) == 2
    assert await store.respawn(ID, 20)
    assert not await store.respawn(ID, 20)
    failed = await store.finish(ID, S.FAILED, "no memory", code="spawn_failed", without_agent=True)
    assert (failed.changed, failed.previous) == (True, S.ASSIGNED)


async def test_queued_twice_it_is_begun_by_one_task(store: RedisStore) -> None:
    await in_call(store)
    await dies(store)
    assert await store.begin_spawn(ID, 20, task="task-1") == 1
    assert await store.begin_spawn(ID, 20, task="task-2") == 0
    assert await store.begin_spawn(ID, -1, task="task-1") == 2, "the next try of the same one"
    assert await store.begin_spawn(ID, 20, task="task-2") == 3, "the first one came to no end"
    assert await store.begin_spawn(ID, -1, task="task-2") == 4
    assert await store.respawn(ID, 20)
    assert await store.begin_spawn(ID, 20, task="task-3") == 5


async def test_an_agent_that_came_is_not_failed_by_its_spawn(store: RedisStore) -> None:
    await in_call(store)
    await dies(store)
    await store.record_agent(agent_record(ID, who=SECOND))
    assert not (await store.finish(ID, S.FAILED, "x", without_agent=True)).changed


async def test_only_the_agent_itself_ends_its_session(store: RedisStore) -> None:
    await in_call(store)
    await dies(store)
    for agent in (FIRST, SECOND):
        assert not (await store.finish(ID, S.ENDED, "the user left", agent=agent)).changed
    await store.record_agent(agent_record(ID, who=SECOND))
    assert not (await store.finish(ID, S.ENDED, "the user left", agent=FIRST)).changed
    assert (await store.finish(ID, S.ENDED, "the user left", agent=SECOND)).changed


async def test_capacity_is_neither_lost_nor_given_away(store: RedisStore) -> None:
    full = LIMITS.__class__(max_agents=1, max_queue=5, spawn_concurrency=4, spawn_deadline_s=20)
    await in_call(store)
    await store.reserve_cold(start_request(), cold_id(2), "t", full)
    await dies(store)
    assert not await store.dispatch(cold_id(2), full)
    assert not await store.reserve_warm(warm_id(3), 5, full)
    assert await store.begin_spawn(ID, 20) == 1


# --- a lost host ---------------------------------------------------------------------------------------


async def heard(hosts: RedisHosts, host: str = HOST) -> str:
    [view] = [view for view in await hosts.hosts() if view.host == host]
    return view.heard


async def test_a_lost_hosts_pool_goes_and_its_calls_get_other_agents(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, "host-2")
    await in_call(store)
    await warm(store, 2, 3)
    await warm(store, 4, host="host-2")

    loss = await store.lose_host(HOST, await heard(hosts), RULE)

    assert (set(loss.replaced), set(loss.failed), loss.news) == ({ID}, {warm_id(2), warm_id(3)}, True)
    failed = await session_of(store, warm_id(2))
    assert (failed.state, failed.error_code, failed.error) == (S.FAILED, "host_lost", "its host host-1 is lost")
    assert (await store.counts(0)).pool_ready == 1
    assert (await session_of(store)).replacements == 1
    assert (await store.spawn_stats()).replacements == {"host_lost": 1}
    assert await store.owned_by(HOST) == set()
    assert await store.owned_by("host-2") == {warm_id(4)}

    again = await store.lose_host(HOST, await heard(hosts), RULE)
    assert (again.replaced, again.failed, again.news) == ([], [], False)
    outcome = await store.record_agent(agent_record(ID, who=THIRD))
    assert outcome.assignment is not None
    assert await store.owned_by("host-2") == {ID, warm_id(4)}


async def test_past_the_last_replacement_a_lost_host_fails_its_calls(store: RedisStore, hosts: RedisHosts) -> None:
    await in_call(store)
    loss = await store.lose_host(HOST, await heard(hosts), ReplaceRule(most=0))
    assert (loss.replaced, loss.failed) == ([], [ID])
    assert (await session_of(store)).error_code == "host_lost"


async def test_a_host_that_was_heard_meanwhile_is_not_lost(store: RedisStore, hosts: RedisHosts) -> None:
    await in_call(store)
    seen = await heard(hosts)
    await beat(hosts)
    await hosts.suspect(HOST, seen)
    loss = await store.lose_host(HOST, seen, RULE)
    assert (loss.replaced, loss.failed, loss.news) == ([], [], False)
    [view] = await hosts.hosts()
    assert view.suspect_at is None
    assert (await session_of(store)).agent == FIRST


async def test_a_heartbeat_ends_a_suspicion_and_tells_once_of_a_loss(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    await hosts.suspect(HOST, await heard(hosts))
    first = (await hosts.hosts())[0].suspect_at
    assert first is not None
    await hosts.suspect(HOST, await heard(hosts))
    assert (await hosts.hosts())[0].suspect_at == first, "since the first look"
    await store.lose_host(HOST, await heard(hosts), RULE)

    assert (await hosts.heartbeat(host_report(), 5)).was_lost
    assert not (await hosts.heartbeat(host_report(), 5)).was_lost
    assert (await hosts.hosts())[0].suspect_at is None


async def test_a_host_that_is_not_known_is_not_made_up(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await hosts.suspect("nobody", "0")
    assert not (await store.lose_host("nobody", "0", RULE)).news
    assert not await client.exists(keys.host("nobody"))


async def test_an_agent_for_a_call_that_was_forgotten_is_nobody_elses(store: RedisStore, client: Client) -> None:
    await in_call(store)
    await dies(store)
    await client.flushall()
    successor = replace(agent_record(ID, who=identity(pid=2)), in_call=True)
    assert not (await store.record_agent(successor)).accepted
    assert (await store.counts(0)).pool_ready == 0
    holding = replace(agent_record(ID, S.ACTIVE, who=identity(pid=2)), in_call=True)
    assert (await store.record_agent(holding)).accepted, "one that has its user is written anew like any other"


# --- draining ------------------------------------------------------------------------------------------


async def test_a_call_is_taken_back_from_a_host_that_drains_where_there_is_another(
    store: RedisStore, hosts: RedisHosts
) -> None:
    await in_call(store)
    await beat(hosts, "other")
    await hosts.drain(HOST)
    await dies(store)
    with pytest.raises(HostDrainingError):
        await store.begin_spawn(ID, 20, HOST, task="a")
    assert await store.begin_spawn(ID, 20, "other", task="b") == 1
    assert await store.give_back(ID, 20, counted=True)
    assert await store.begin_spawn(ID, 20, "other", task="c") == 1, "not counted, and no other task's any more"


async def test_a_call_goes_on_at_a_host_that_drains_where_there_is_no_other(
    store: RedisStore, hosts: RedisHosts
) -> None:
    await in_call(store)
    await hosts.drain(HOST)
    await dies(store)
    assert await store.begin_spawn(ID, 20, HOST) == 1
    assert await store.give_back(ID, 20, counted=True), "its user is in the room"
    session = await session_of(store)
    assert (session.state, session.queue_position) == (S.ACTIVE, None)
