"""Several kinds of agents in one store: whose is whose, how many there may be, and who waits for what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_breakers import RedisBreakers
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_lookup import RedisLookup
from orchestrator.adapters.redis_rollout import RedisRollouts
from orchestrator.adapters.redis_statistics import RedisStatistics
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain import pool
from orchestrator.domain.breaker import BreakerPolicy
from orchestrator.domain.errors import (
    AgentsUnavailableError,
    HostDrainingError,
    InvalidRequestError,
    PassedOnError,
)
from orchestrator.domain.rollout import PoolProgress
from orchestrator.records import AgentRecord, Claimed, Limits, NoneReady, Queued, ReplaceRule, Search, StartRequest
from orchestrator.services.breaker import SpawnBreaker
from orchestrator.services.pool import KeepPool, ReapAges
from tests.support.fakes import FakeTaskQueue, replacer
from tests.support.records import HOST, LIMITS, agent_record, cold_id, host_report, identity, start_request, warm_id

S = SessionState
SUPPORT = "support"
AGES = ReapAges(3600, 3600, 3600, 86_400)


async def serves(hosts: RedisHosts, kinds: str, host: str = HOST, **fields: object) -> None:
    """A host that is alive, and serves these."""
    report = replace(host_report(), **{"host": host, "kinds": kinds, "ready_kinds": kinds, **fields})  # type: ignore[arg-type]
    await hosts.heartbeat(report, 60)


def of(kind: str, number: int, host: str = HOST, state: SessionState = S.READY) -> AgentRecord:
    return replace(agent_record(warm_id(number), state, who=identity(host, pid=number)), kind=kind)


async def waits(store: RedisStore, kind: str, *numbers: int, host: str = HOST) -> None:
    """Agents of this kind that came into their pool."""
    for number in numbers:
        assert await store.reserve_warm(warm_id(number), 99, LIMITS, kind)
        await store.record_agent(of(kind, number, host))


def asks(kind: str) -> StartRequest:
    return replace(start_request(), kind=kind)


async def cold(store: RedisStore, kind: str, number: int, limits: Limits = LIMITS) -> Queued:
    queued = await store.reserve_cold(asks(kind), cold_id(number), "t", limits)
    assert isinstance(queued, Queued)
    return queued


def keeper(
    store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue, limits: Limits = LIMITS, **floors: int
) -> KeepPool:
    more = {SUPPORT: 0} | {kind: floor for kind, floor in floors.items() if kind != "default"}
    return KeepPool(store, hosts, queue, limits, AGES, default_target=floors.get("default", 0), more=more)


@pytest.fixture
def queue() -> FakeTaskQueue:
    return FakeTaskQueue()


# --- whose is whose ------------------------------------------------------------------------------------


async def test_a_claim_takes_an_agent_of_its_own_kind_only(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    await serves(hosts, "default,support")
    await waits(store, "default", 1)
    await waits(store, SUPPORT, 2, 3)
    taken = [await store.claim(asks(SUPPORT), "r") for _ in range(2)]
    assert {claim.session_id for claim in taken if isinstance(claim, Claimed)} == {warm_id(2), warm_id(3)}
    assert isinstance(await store.claim(asks(SUPPORT), "r"), NoneReady)
    plain = await store.claim(start_request(), "r")
    assert isinstance(plain, Claimed)
    assert plain.session_id == warm_id(1)
    assert [(await store.get(warm_id(n))).kind for n in (1, 2, 3)] == ["default", SUPPORT, SUPPORT]  # type: ignore[union-attr]
    assert sum(map(int, await client.hvals(keys.of_kind(keys.POOL_ARRIVALS, SUPPORT)))) == 2
    assert sum(map(int, await client.hvals(keys.POOL_ARRIVALS))) == 1


async def test_one_request_sent_twice_has_one_agent_of_its_kind(store: RedisStore, hosts: RedisHosts) -> None:
    await serves(hosts, "default,support")
    await waits(store, SUPPORT, 1, 2)
    request = replace(start_request("key"), kind=SUPPORT)
    claims = [await store.claim(request, "r") for _ in range(3)]
    assert len({claim.session_id for claim in claims if isinstance(claim, Claimed)}) == 1
    assert (await store.counts(0, {SUPPORT: 0})).kinds[SUPPORT].ready == 1


async def test_a_session_that_the_store_lost_is_written_anew_with_its_agents_kind(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    await serves(hosts, "default,support")
    await store.record_agent(of(SUPPORT, 1))
    await store.record_agent(of(SUPPORT, 2, state=S.ACTIVE))
    assert await client.smembers("pool:ready:support") == {warm_id(1)}
    assert await client.smembers("pool:agents:support") == {warm_id(1), warm_id(2)}
    assert isinstance(await store.claim(start_request(), "r"), NoneReady)


async def test_the_kind_of_a_session_stands_whatever_an_agent_says(store: RedisStore, hosts: RedisHosts) -> None:
    await serves(hosts, "default,support")
    await store.reserve_warm(warm_id(1), 9, LIMITS, SUPPORT)
    await store.record_agent(of("default", 1))
    assert isinstance(await store.claim(start_request(), "r"), NoneReady)
    assert isinstance(await store.claim(asks(SUPPORT), "r"), Claimed)


async def test_a_call_whose_agent_died_gets_another_of_its_kind(
    store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue
) -> None:
    await serves(hosts, "default,support")
    await waits(store, SUPPORT, 1)
    assert isinstance(await store.claim(asks(SUPPORT), "r"), Claimed)
    await replacer(store, hosts, queue).agent_died(warm_id(1), identity(pid=1), "it died", "agent_died")
    assert queue.kinds == {warm_id(1): SUPPORT}
    session = await store.get(warm_id(1))
    assert session is not None
    assert (session.kind, session.agent) == (SUPPORT, None)
    [under_way] = (await store.snapshot([SUPPORT])).spawning
    assert (under_way.kind, under_way.replaces) == (SUPPORT, True)


async def test_the_calls_of_a_lost_host_go_on_with_agents_of_their_kinds(
    store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue, client: Client
) -> None:
    await serves(hosts, "default,support")
    await waits(store, "default", 1)
    await waits(store, SUPPORT, 2, 3)
    for request in (start_request(), asks(SUPPORT)):
        assert isinstance(await store.claim(request, "r"), Claimed)
    heard = str(await client.hget(keys.host(HOST), "heartbeatAt"))
    loss = await store.lose_host(HOST, heard, ReplaceRule(2))
    assert (len(loss.replaced), len(loss.failed)) == (2, 1)
    assert await client.scard("pool:ready:support") == 0
    assert {spawn.kind for spawn in (await store.snapshot([SUPPORT])).spawning} == {"default", SUPPORT}


async def test_sessions_of_one_kind_are_found(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await serves(hosts, "default,support")
    await waits(store, "default", 1)
    await waits(store, SUPPORT, 2, 3)
    assert isinstance(await store.claim(asks(SUPPORT), "r"), Claimed)
    lookup = RedisLookup(client)
    states = [S.READY, S.ASSIGNED]
    every = await lookup.find(states, Search(None, "", SUPPORT), 9, None)
    assert {session.kind for session in every.sessions} == {SUPPORT}
    assert len(every.sessions) == 2
    users = await lookup.find(states, Search(None, "user-1", SUPPORT), 9, None)
    assert [session.state for session in users.sessions] == [S.ASSIGNED]
    assert (await lookup.find(states, Search(None, "user-1", "default"), 9, None)).sessions == []


# --- how many ------------------------------------------------------------------------------------------


async def test_each_pool_fills_to_its_own_floor(store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue) -> None:
    await serves(hosts, "default,support")
    actions = await keeper(store, hosts, queue, default=2, support=1).refill()
    assert sorted(action.kind for action in actions if isinstance(action, pool.SpawnWarm)) == ["default"] * 2 + [
        SUPPORT
    ]
    assert sorted(queue.kinds.values()) == ["default"] * 2 + [SUPPORT]
    assert await keeper(store, hosts, queue, default=2, support=1).refill() == []
    counts = await store.counts(2, {SUPPORT: 1})
    assert {kind: (of_kind.warming, of_kind.floor) for kind, of_kind in counts.kinds.items()} == {
        "default": (2, 2), SUPPORT: (1, 1),
    }  # fmt: skip


async def test_resizing_one_kind_leaves_the_others(store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue) -> None:
    await serves(hosts, "default,support")
    await waits(store, "default", 1, 2)
    await waits(store, SUPPORT, 3, 4)
    pools = keeper(store, hosts, queue, default=2, support=2)
    assert await pools.resize(0, SUPPORT) == 2
    assert await pools.refill() == [pool.Retire(2, SUPPORT)]
    counts = await store.counts(2, {SUPPORT: 2})
    assert (counts.kinds["default"].ready, counts.kinds[SUPPORT].ready, counts.floor) == (2, 0, 2)


@pytest.mark.parametrize(
    ("size", "kind", "words"),
    [
        (9, SUPPORT, r"MAX_BOTS \(10\) less the 2 of other kinds"),
        (4, "sales", r"the most of sales \(3\)"),
        (1, "x", "agent"),
    ],
)
async def test_sizes_that_cannot_be(
    store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue, size: int, kind: str, words: str
) -> None:
    limits = replace(LIMITS, most_of={"sales": 3})
    with pytest.raises(InvalidRequestError, match=words):
        await keeper(store, hosts, queue, limits, default=2, sales=0).resize(size, kind)
    assert queue.refills == 0


async def test_a_kind_never_has_more_than_its_most(store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue) -> None:
    await serves(hosts, "default,support")
    limits = replace(LIMITS, most_of={SUPPORT: 2})
    await waits(store, SUPPORT, 1)
    assert isinstance(await store.claim(asks(SUPPORT), "r"), Claimed)
    assert (await cold(store, SUPPORT, 1, limits)).dispatched
    assert not (await cold(store, SUPPORT, 2, limits)).dispatched
    assert not await store.reserve_warm(warm_id(9), 9, limits, SUPPORT)
    assert not await store.dispatch(cold_id(2), limits, SUPPORT)
    assert (await cold(store, "default", 3, limits)).dispatched, "who waits for another kind is passed"
    pools = keeper(store, hosts, queue, limits, default=1, support=2)
    assert await pools.refill() == [pool.SpawnWarm()]
    await store.finish(warm_id(1), S.ENDED, "over")
    assert await pools.refill() == [pool.Dispatch(cold_id(2), SUPPORT)]
    assert queue.kinds[cold_id(2)] == SUPPORT


async def test_all_kinds_share_the_most(store: RedisStore, hosts: RedisHosts) -> None:
    await serves(hosts, "default,support")
    tight = replace(LIMITS, max_agents=2)
    assert (await cold(store, "default", 1, tight)).dispatched
    assert (await cold(store, SUPPORT, 2, tight)).dispatched
    assert not (await cold(store, SUPPORT, 3, tight)).dispatched
    assert not (await cold(store, "default", 4, tight)).dispatched, "one queue: the first come is served first"
    assert [w.session_id for w in (await store.snapshot([SUPPORT])).waiting] == [cold_id(3), cold_id(4)]
    assert not (await cold(store, SUPPORT, 5, tight)).dispatched
    counts = await store.counts(1, {SUPPORT: 1, "sales": 1})
    assert {kind: of_kind.waiting for kind, of_kind in counts.kinds.items()} == {"default": 1, SUPPORT: 2, "sales": 0}


async def test_old_agents_go_half_of_each_kinds_pool_at_a_time(store: RedisStore, hosts: RedisHosts) -> None:
    await serves(hosts, "default,support")
    await waits(store, "default", 1, 2)
    await waits(store, SUPPORT, 3, 4)
    ends = pool.reap(await store.aging(3600, 3600, -1))
    assert sorted(end.session_id for end in ends) == [warm_id(1), warm_id(3)]


# --- hosts that serve some -----------------------------------------------------------------------------


async def test_only_hosts_that_serve_a_kind_have_room_for_it(store: RedisStore, hosts: RedisHosts) -> None:
    await serves(hosts, "default", "a", capacity=9)
    await serves(hosts, "default,support", "b", capacity=1)
    kinds = (await store.snapshot([SUPPORT])).kinds
    assert {kind: state.host_room for kind, state in kinds.items()} == {"default": 10, SUPPORT: 1}
    assert {kind: state.beside for kind, state in kinds.items()} == {
        "default": {"default", SUPPORT}, SUPPORT: {"default", SUPPORT},
    }  # fmt: skip
    assert (await cold(store, SUPPORT, 1)).dispatched
    assert not (await cold(store, SUPPORT, 2)).dispatched
    assert (await cold(store, "default", 3)).dispatched


async def test_spawns_for_other_hosts_take_no_room_on_these(store: RedisStore, hosts: RedisHosts) -> None:
    await serves(hosts, "default", "a", capacity=9)
    await serves(hosts, SUPPORT, "b", capacity=2)
    for number in range(3):
        assert (await cold(store, "default", number)).dispatched
    assert (await cold(store, SUPPORT, 9)).dispatched


async def test_a_spawn_on_a_host_that_does_not_serve_it_goes_back(store: RedisStore, hosts: RedisHosts) -> None:
    await serves(hosts, "default", "a")
    await serves(hosts, SUPPORT, "b")
    await cold(store, SUPPORT, 1)
    with pytest.raises(HostDrainingError):
        await store.begin_spawn(cold_id(1), 20, "a", task="t")
    assert await store.give_back(cold_id(1), 20, counted=False), "for the host that does"
    assert await store.begin_spawn(cold_id(1), 20, "b", task="t") == 1


async def test_a_pools_spawn_goes_to_the_emptier_of_the_hosts_that_serve_it(
    store: RedisStore, hosts: RedisHosts
) -> None:
    await serves(hosts, "default,support", "a")
    await serves(hosts, "default,support", "b")
    await serves(hosts, "default", "c")
    await waits(store, "default", 1, host="a")
    await waits(store, "default", 2, host="b")
    assert await store.reserve_warm(warm_id(3), 9, LIMITS, SUPPORT)
    assert await store.begin_spawn(warm_id(3), 20, "a") == 1, "c is empty, and does not serve it"
    await serves(hosts, "default,support", "c", ready_kinds="default", zygote="support failed: x")
    assert await store.reserve_warm(warm_id(4), 9, LIMITS, SUPPORT)
    assert await store.begin_spawn(warm_id(4), 20, "b") == 1, "c cannot fork one"
    await serves(hosts, "default,support", "c")
    assert await store.reserve_warm(warm_id(5), 9, LIMITS, SUPPORT)
    with pytest.raises(PassedOnError):
        await store.begin_spawn(warm_id(5), 20, "a")


async def test_who_waits_for_a_kind_that_no_host_serves_holds_up_nobody(
    store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue
) -> None:
    await serves(hosts, "default", "a")
    assert not (await cold(store, SUPPORT, 1)).dispatched
    assert not (await store.snapshot([SUPPORT])).kinds[SUPPORT].can_spawn
    assert (await cold(store, "default", 2)).dispatched
    pools = keeper(store, hosts, queue, default=1, support=1)
    assert await pools.refill() == [pool.SpawnWarm()]
    await serves(hosts, SUPPORT, "b")
    assert await pools.refill() == [pool.Dispatch(cold_id(1), SUPPORT), pool.SpawnWarm(SUPPORT)]


async def test_while_a_kind_is_loaded_nothing_of_it_takes_up_a_spawn(
    store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue
) -> None:
    await serves(hosts, "default,support", ready_kinds="default", loading_kinds=SUPPORT)
    assert not (await cold(store, SUPPORT, 1)).dispatched
    assert not await store.reserve_warm(warm_id(1), 9, LIMITS, SUPPORT)
    assert (await cold(store, "default", 2)).dispatched
    pools = keeper(store, hosts, queue, default=1, support=1)
    assert await pools.refill() == [pool.SpawnWarm()]
    await serves(hosts, "default,support")
    assert await pools.refill() == [pool.Dispatch(cold_id(1), SUPPORT), pool.SpawnWarm(SUPPORT)]


@pytest.mark.parametrize("is_lost", [False, True])
async def test_a_host_that_restarts_is_waited_for_and_a_lost_one_is_not(
    store: RedisStore, hosts: RedisHosts, client: Client, is_lost: bool
) -> None:
    await serves(hosts, "default", "a")
    await serves(hosts, SUPPORT, "b")
    await hosts.sign_off("b")
    if is_lost:
        await store.lose_host("b", str(await client.hget(keys.host("b"), "heartbeatAt")), ReplaceRule(2))
    assert (await store.snapshot([SUPPORT])).kinds[SUPPORT].can_spawn is not is_lost


# --- a breaker for each --------------------------------------------------------------------------------


async def test_one_kinds_failures_stop_that_kind_alone(
    store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue, client: Client
) -> None:
    await serves(hosts, "default,support")
    tight = replace(LIMITS, max_agents=1)
    assert (await cold(store, "default", 1, tight)).dispatched
    assert not (await cold(store, SUPPORT, 2, tight)).dispatched
    breakers = RedisBreakers(client)
    breaker = SpawnBreaker(breakers, queue, BreakerPolicy(failures=2, base_s=40, cap_s=80), draw=lambda: 0.0)
    for _ in range(2):
        await breaker.failed("agent_died", "it died", SUPPORT)
    with pytest.raises(AgentsUnavailableError):
        await cold(store, SUPPORT, 3)
    assert (await cold(store, "default", 4)).dispatched
    pools = keeper(store, hosts, queue, replace(LIMITS, spawn_concurrency=9), default=1, support=1)
    assert await pools.refill() == [pool.SpawnWarm()], "nothing of the other kind, and its user goes on waiting"
    assert not await store.dispatch(cold_id(2), LIMITS, SUPPORT)

    await client.hset(keys.breaker(SUPPORT), "openUntil", "1.0")
    assert await pools.refill() == [pool.SpawnWarm(SUPPORT)], "half-open: its one try"
    await breaker.succeeded(SUPPORT)
    assert await pools.refill() == [pool.Dispatch(cold_id(2), SUPPORT)]


async def test_a_spawn_that_is_held_back_asks_its_own_kinds_breaker(
    store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue, client: Client
) -> None:
    await serves(hosts, "default,support")
    for number, kind in ((1, "default"), (2, SUPPORT)):
        assert await store.reserve_warm(warm_id(number), 9, LIMITS, kind)
    breaker = SpawnBreaker(RedisBreakers(client), queue, BreakerPolicy(failures=1), draw=lambda: 0.9)
    await breaker.failed("agent_died", "it died", SUPPORT)
    with pytest.raises(AgentsUnavailableError):
        await store.begin_spawn(warm_id(2), 20, HOST)
    assert await store.begin_spawn(warm_id(1), 20, HOST) == 1


# --- samples and rollouts ------------------------------------------------------------------------------


async def test_a_sample_has_the_sums(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await serves(hosts, "default,support")
    await waits(store, "default", 1)
    await waits(store, SUPPORT, 2, 3)
    statistics = RedisStatistics(client)
    assert await statistics.sample(3, {SUPPORT: 4})
    [sample] = await statistics.samples(9)
    assert (sample.ready, sample.target) == (3, 7)


async def test_a_rollout_sees_and_recycles_each_kinds_own(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    rollouts = RedisRollouts(client)
    await rollouts.begin("r")
    await serves(hosts, "default,support,sales", generation="2", generations="support:5")
    for number, kind, generation in ((1, "default", "2"), (2, SUPPORT, "4"), (3, SUPPORT, "5"), (4, "sales", "1")):
        assert await store.reserve_warm(warm_id(number), 9, LIMITS, kind)
        await store.record_agent(replace(of(kind, number), generation=generation))
    found = await rollouts.look(1, {SUPPORT: 2, "sales": 1})
    assert found is not None
    assert found[1].pools == (
        PoolProgress("default", old=0, ready=1, target=1),
        PoolProgress(SUPPORT, old=1, ready=2, target=2),
        PoolProgress("sales", old=0, ready=1, target=1),  # its zygote was never ready: what is older is not known
    )
    assert await rollouts.recycle("r", 9, 0) == []
    assert await rollouts.recycle("r", 9, 0, SUPPORT) == [warm_id(2)]
