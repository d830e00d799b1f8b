"""The pool's policy: what it decides in known situations, and what it promises in all."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.keys import DEFAULT_KIND
from contract.states import SessionState
from orchestrator.domain.pool import (
    Abandon,
    Action,
    AgedPool,
    Aging,
    Dispatch,
    EndSession,
    GiveUp,
    Joining,
    KindPolicy,
    KindSnapshot,
    LookAgain,
    PoolPolicy,
    PoolSnapshot,
    Respawn,
    Retire,
    SpawnUnderWay,
    SpawnWarm,
    TurnAway,
    Waiting,
    estimated_wait_s,
    plan,
    reap,
    wait_for_places_s,
)

NOW = 1_000_000.0
D = DEFAULT_KIND
KEPT_FAILING = "agents could not be started: spawns kept failing"


def one_kind(
    ready: int,
    owned: int,
    spawning: tuple[SpawnUnderWay, ...] = (),
    waiting: tuple[Waiting, ...] = (),
    can_spawn: bool = True,
    host_room: int | None = None,
    may_begin: int | None = None,
    failing_since: float | None = None,
) -> PoolSnapshot:
    """A snapshot where there is the default kind of agent alone."""
    pool = KindSnapshot(ready, 0, can_spawn, host_room, may_begin=may_begin, failing_since=failing_since)
    return PoolSnapshot({D: pool}, owned, spawning, waiting)


def one_policy(target: int, max_agents: int, **more: float) -> PoolPolicy:
    return PoolPolicy({D: KindPolicy(target)}, max_agents, **more)  # type: ignore[arg-type]


def with_target(target: int) -> PoolPolicy:
    return replace(POLICY, kinds={D: KindPolicy(target)})


POLICY = one_policy(target=3, max_agents=10, spawn_concurrency=4)


def spawning(name: str, *, warm: bool = True, deadline: float = NOW + 5, attempts: int = 1) -> SpawnUnderWay:
    return SpawnUnderWay(name, warm, deadline, attempts)


def waiting(name: str, *, since: float = NOW - 1, last_seen: float = NOW) -> Waiting:
    return Waiting(name, since, last_seen)


# --- users who join ----------------------------------------------------------------------------------------

LACKING = NOW - 0.5


@pytest.mark.parametrize(
    ("joining", "goes_first"),
    [
        (Joining(), False),
        (Joining(1, 2, LACKING), True),
        (Joining(0, 2, LACKING), False),
        (Joining(1, 4, LACKING), False),
        (Joining(2, 4, LACKING), True),
        (Joining(3, 0, LACKING), False),
        (Joining(1, 2, None), False),
        (Joining(2, 4, NOW - 1.67), True),
        (Joining(2, 4, NOW - 1.68), False),
        (Joining(10, 2, NOW - 3.24), True),
        (Joining(10, 2, NOW - 3.26), False),
        (Joining(99, 2, NOW - 4.99), True),
        (Joining(99, 2, NOW - 5), False),
    ],
)
def test_the_pool_grows_a_moment_after_users_who_join(joining: Joining, goes_first: bool) -> None:
    lacking = replace(one_kind(2, 1), joining=joining)
    assert plan(lacking, POLICY, NOW) == ([LookAgain()] if goes_first else [SpawnWarm()])


def test_where_one_spawn_is_made_at_a_time_the_pool_waits_for_nobody() -> None:
    """The refill that waits would be all that there is for a user's spawn, too."""
    lacking = replace(one_kind(2, 1), joining=Joining(5, 2, LACKING))
    assert plan(lacking, replace(POLICY, spawn_concurrency=1), NOW) == [SpawnWarm()]


def test_nothing_else_waits_for_users_who_join() -> None:
    joining = Joining(5, 2, LACKING)
    assert plan(replace(one_kind(3, 1), joining=joining), POLICY, NOW) == [], "nothing is lacking"
    assert plan(replace(one_kind(5, 1), joining=joining), POLICY, NOW) == [Retire(2)]
    queued = one_kind(0, 1, (spawning("late", deadline=NOW),), (waiting("a"),))
    assert plan(replace(queued, joining=joining), POLICY, NOW) == [Respawn("late"), Dispatch("a"), LookAgain()]
    tried = one_kind(3, 1, may_begin=1)
    assert plan(replace(tried, joining=joining), POLICY, NOW) == [SpawnWarm()], "a breaker's one try"


# --- known situations ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("snapshot", "policy", "expected"),
    [
        pytest.param(one_kind(0, 0), POLICY, [SpawnWarm()] * 3, id="empty: to the target"),
        pytest.param(one_kind(3, 5), POLICY, [], id="at the target: nothing"),
        pytest.param(one_kind(0, 0), with_target(9), [SpawnWarm()] * 4, id="four at a time"),
        pytest.param(one_kind(0, 9), POLICY, [SpawnWarm()], id="one below the most"),
        pytest.param(one_kind(0, 10), POLICY, [], id="at the most"),
        pytest.param(one_kind(1, 0, (spawning("a"),)), POLICY, [SpawnWarm()], id="those under way count"),
        pytest.param(
            one_kind(0, 0, tuple(spawning(n, warm=False) for n in "abc")), POLICY, [SpawnWarm()],
            id="users' spawns take up the concurrency",
        ),
        pytest.param(one_kind(5, 0), POLICY, [Retire(2)], id="too many: retire the surplus"),
        pytest.param(one_kind(5, 0), with_target(0), [Retire(5)], id="to zero"),
        pytest.param(one_kind(2, 0, (spawning("a"), spawning("b"))), POLICY, [], id="too many to come: wait"),
        pytest.param(
            one_kind(0, 9, (), (waiting("b", since=2), waiting("a", since=1))), POLICY, [Dispatch("a")],
            id="one place: the first in the queue",
        ),
        pytest.param(
            one_kind(0, 0, (), tuple(waiting(n) for n in "abcdef")), POLICY,
            [Dispatch("a"), Dispatch("b"), Dispatch("c"), Dispatch("d")],
            id="users four at a time, and nothing for the pool while one waits",
        ),
        pytest.param(
            one_kind(3, 7, (), (waiting("a"), waiting("b"))), POLICY, [Retire(2)],
            id="no capacity: the pool makes room for users",
        ),
        pytest.param(
            one_kind(1, 9, (), (waiting("a"),), may_begin=0), with_target(0), [],
            id="the breaker is open: who waits goes on waiting, and who is ready stays",
        ),
        pytest.param(
            one_kind(0, 0, (), (waiting("a", since=NOW - 15.1), waiting("b", since=NOW - 14.9)), may_begin=0,
                     failing_since=NOW - 90),
            POLICY, [TurnAway("a", KEPT_FAILING)],
            id="the breaker is open for too long: who waited long enough is told so",
        ),
        pytest.param(
            one_kind(0, 0, (), (waiting("a", since=NOW - 90),), may_begin=0, failing_since=NOW - 14.9), POLICY, [],
            id="before that, waiting for capacity does not count",
        ),
        pytest.param(
            one_kind(
                0, 0, (), (waiting("a", since=NOW - 90, last_seen=NOW - 16),), may_begin=0, failing_since=NOW - 90
            ),
            POLICY, [Abandon("a")],
            id="nor is one turned away who went away",
        ),
        pytest.param(
            one_kind(0, 0, (), (waiting("a", since=NOW - 90),), may_begin=1, failing_since=NOW - 90), POLICY,
            [TurnAway("a", KEPT_FAILING), SpawnWarm()],
            id="half-open for too long: one is tried, and nobody waits for it",
        ),
        pytest.param(one_kind(0, 0, may_begin=1), POLICY, [SpawnWarm()], id="half-open: one"),
        pytest.param(
            one_kind(1, 0, (), (waiting("b", since=2), waiting("a", since=1)), may_begin=1), POLICY, [SpawnWarm()],
            id="half-open: the try is the pool's, and costs no user's",
        ),
        pytest.param(one_kind(3, 0, may_begin=1), POLICY, [SpawnWarm()], id="half-open: one, though none lacks"),
        pytest.param(one_kind(0, 10, may_begin=1), POLICY, [], id="half-open at the most"),
        pytest.param(
            one_kind(2, 0, (), tuple(waiting(n) for n in "abcdef")), POLICY,
            [Dispatch("a"), Dispatch("b"), Dispatch("c"), Dispatch("d")],
            id="capacity, but no free spawn: the pool need not make room",
        ),
        pytest.param(
            one_kind(3, 7, (), (waiting("a", last_seen=NOW - 15.1), waiting("b", last_seen=NOW - 15))), POLICY,
            [Abandon("a"), Retire(1)],
            id="who went away gives up the place",
        ),
        pytest.param(
            one_kind(0, 0, (spawning("a", deadline=NOW, attempts=2),)), POLICY,
            [Respawn("a"), SpawnWarm(), SpawnWarm()],
            id="overdue: again",
        ),
        pytest.param(
            one_kind(0, 9, (spawning("a", warm=False, deadline=NOW, attempts=3),), (waiting("b"),)), POLICY,
            [GiveUp("a", "spawn_timeout", "no agent came in 3 tries"), Dispatch("b")],
            id="no try left: its place is free",
        ),
        pytest.param(
            one_kind(0, 0, (spawning("a", deadline=NOW),), (waiting("b"), waiting("c", last_seen=NOW - 99)), False),
            POLICY, [Respawn("a"), Abandon("c")],
            id="every host drains: nothing is begun, and what is left is looked after",
        ),
        pytest.param(one_kind(5, 5, (), (waiting("a"),), False), POLICY, [], id="nor does the pool make room"),
        pytest.param(one_kind(0, 0, host_room=2), POLICY, [SpawnWarm()] * 2, id="what the hosts have room for"),
        pytest.param(
            one_kind(0, 0, (spawning("a", warm=False),), host_room=2), POLICY, [SpawnWarm()],
            id="one of the two places is taken by who is under way",
        ),
        pytest.param(
            one_kind(2, 1, (), (waiting("a"),), host_room=0), POLICY, [Retire(1)],
            id="no room on the hosts: the pool makes room for users",
        ),
        pytest.param(one_kind(0, 30), POLICY, [], id="more than the most: nothing, and no error"),
    ],
)  # fmt: skip
def test_plan(snapshot: PoolSnapshot, policy: PoolPolicy, expected: list[Action]) -> None:
    assert plan(snapshot, policy, NOW) == expected


# --- what holds in every situation ---------------------------------------------------------------------

policies = st.builds(
    one_policy,
    target=st.integers(0, 12),
    max_agents=st.integers(1, 15),
    spawn_concurrency=st.integers(1, 6),
    spawn_tries=st.integers(1, 3),
)
times = st.sampled_from([NOW - 100, NOW - 16, NOW - 15, NOW - 1, NOW, NOW + 1, NOW + 100])


@st.composite
def snapshots(draw: st.DrawFn) -> PoolSnapshot:
    spawns = draw(st.lists(st.tuples(st.booleans(), times, st.integers(0, 4)), max_size=8))
    queue = draw(st.lists(st.tuples(times, times), max_size=8))
    return one_kind(
        draw(st.integers(0, 15)),
        draw(st.integers(0, 15)),
        tuple(SpawnUnderWay(f"s{i}", *row) for i, row in enumerate(spawns)),
        tuple(Waiting(f"w{i}", *row) for i, row in enumerate(queue)),
        host_room=draw(st.none() | st.integers(0, 15)),
    )


@given(snapshots(), policies)
def test_limits_hold_for_any_snapshot(snapshot: PoolSnapshot, policy: PoolPolicy) -> None:
    kinds = Counter(type(action) for action in plan(snapshot, policy, NOW))
    begun = kinds[SpawnWarm] + kinds[Dispatch]
    given_up = kinds[GiveUp]
    if begun:
        assert snapshot.agents - given_up + begun <= policy.max_agents
        assert len(snapshot.spawning) - given_up + begun <= policy.spawn_concurrency
        room = snapshot.kinds[D].host_room
        assert room is None or len(snapshot.spawning) - given_up + begun <= room
    if kinds[SpawnWarm]:
        assert snapshot.ready + snapshot.warming(D) + kinds[SpawnWarm] <= policy.kinds[D].target
    assert not (kinds[SpawnWarm] and kinds[Retire])


joinings = st.builds(
    Joining,
    users=st.integers(0, 6),
    cores=st.sampled_from([0, 0.5, 2, 8]),
    lacking_since=st.none() | st.sampled_from([NOW - 2, NOW - 1.5, NOW - 1, NOW, NOW + 1]),
)


@given(snapshots(), policies, joinings)
def test_users_who_join_put_off_how_the_pool_grows_and_nothing_else(
    snapshot: PoolSnapshot, policy: PoolPolicy, joining: Joining
) -> None:
    without = plan(snapshot, policy, NOW)
    found = plan(replace(snapshot, joining=joining), policy, NOW)
    if LookAgain() not in found:
        assert found == without
        return
    assert joining.go_first(NOW)
    kept = len(found) - 1
    assert found == [*without[:kept], LookAgain()]
    assert without[kept:], "it looks again only for what it put off"
    assert all(isinstance(action, SpawnWarm) for action in without[kept:])


@given(snapshots(), policies)
def test_users_come_before_the_pool(snapshot: PoolSnapshot, policy: PoolPolicy) -> None:
    actions = plan(snapshot, policy, NOW)
    gone = {a.session_id for a in actions if isinstance(a, Abandon)}
    served = [a.session_id for a in actions if isinstance(a, Dispatch)]
    queue = [w.session_id for w in sorted(snapshot.waiting, key=lambda w: w.since) if w.session_id not in gone]
    assert gone == {w.session_id for w in snapshot.waiting if NOW - w.last_seen > 15}
    by_since = {w.session_id: w.since for w in snapshot.waiting}
    assert [by_since[i] for i in served] == [by_since[i] for i in queue[: len(served)]], "first come, first served"
    assert len(set(served)) == len(served)
    assert not gone & set(served)
    if len(served) < len(queue):
        assert SpawnWarm() not in actions


@given(snapshots(), policies)
def test_every_overdue_spawn_is_tried_again_or_given_up(snapshot: PoolSnapshot, policy: PoolPolicy) -> None:
    actions = plan(snapshot, policy, NOW)
    again = {a.session_id for a in actions if isinstance(a, Respawn)}
    given_up = {a.session_id for a in actions if isinstance(a, GiveUp)}
    overdue = {s.session_id: s.attempts for s in snapshot.spawning if s.deadline <= NOW}
    assert again == {i for i, attempts in overdue.items() if attempts < policy.spawn_tries}
    assert given_up == set(overdue) - again


@given(snapshots(), policies)
def test_no_more_is_retired_than_the_pool_has_or_users_need(snapshot: PoolSnapshot, policy: PoolPolicy) -> None:
    actions = plan(snapshot, policy, NOW)
    retired = sum(a.count for a in actions if isinstance(a, Retire))
    served = sum(isinstance(a, Dispatch) for a in actions)
    gone = sum(isinstance(a, Abandon) for a in actions)
    unserved = len(snapshot.waiting) - gone - served
    assert retired <= snapshot.ready
    assert retired <= max(0, snapshot.ready - policy.kinds[D].target) + unserved
    assert all(a.count > 0 for a in actions if isinstance(a, Retire))


# --- simulated rounds ----------------------------------------------------------------------------------


@dataclass
class World:
    """What the store's scripts do with each action, in a few lines: they check every reservation again."""

    policy: PoolPolicy
    ready: int = 0
    owned: int = 0
    spawns: dict[str, bool] = field(default_factory=dict)
    queue: list[str] = field(default_factory=list)
    served: list[str] = field(default_factory=list)
    made: int = 0

    def snapshot(self) -> PoolSnapshot:
        under_way = tuple(SpawnUnderWay(name, warm, math.inf, 0) for name, warm in self.spawns.items())
        users = tuple(Waiting(name, float(i), NOW) for i, name in enumerate(self.queue))
        return one_kind(self.ready, self.owned, under_way, users)

    def perform(self, action: Action) -> None:
        agents = self.ready + self.owned + len(self.spawns)
        room = agents < self.policy.max_agents and len(self.spawns) < self.policy.spawn_concurrency
        match action:
            case SpawnWarm() if room and self.ready + sum(self.spawns.values()) < self.policy.kinds[D].target:
                self.made += 1
                self.spawns[f"warm{self.made}"] = True
            case Dispatch(name) if room and name in self.queue:
                self.queue.remove(name)
                self.spawns[name] = False
            case Retire(count):
                self.ready -= min(count, self.ready)

    def finish_a_spawn(self, rng: random.Random) -> None:
        if self.spawns:
            name = rng.choice(sorted(self.spawns))
            if self.spawns.pop(name):
                self.ready += 1
            else:
                self.owned += 1
                self.served.append(name)

    def check(self) -> None:
        assert self.ready + self.owned + len(self.spawns) <= self.policy.max_agents
        assert len(self.spawns) <= self.policy.spawn_concurrency
        assert self.ready >= 0


@given(
    policies, st.integers(0, 15), st.integers(0, 15), st.integers(0, 8), st.integers(0, 2**32)
)  # fmt: skip
def test_rounds_converge_whatever_the_order_and_with_two_refills_at_once(
    policy: PoolPolicy, ready: int, owned: int, users: int, seed: int
) -> None:
    rng = random.Random(seed)
    ready = min(ready, policy.max_agents)
    world = World(policy, ready, min(owned, policy.max_agents - ready), queue=[f"user{i}" for i in range(users)])
    for _ in range(60):
        before = world.ready + sum(world.spawns.values())
        twice = plan(world.snapshot(), policy, NOW) * 2
        rng.shuffle(twice)
        for action in twice:
            world.perform(action)
            world.check()
            if rng.random() < 0.3:
                world.finish_a_spawn(rng)
        assert world.ready + sum(world.spawns.values()) <= max(before, policy.kinds[D].target)
        world.finish_a_spawn(rng)
    capacity = policy.max_agents - world.owned
    assert not world.spawns
    assert world.ready == min(policy.kinds[D].target, max(0, capacity)) if not world.queue else world.ready == 0
    assert not world.queue or capacity == 0, "a user waits only when there is no capacity at all"


def test_a_full_house_serves_users_as_others_leave() -> None:
    policy = replace(with_target(2), max_agents=4)
    world = World(policy, ready=2, owned=2, queue=["a", "b", "c", "d"])
    rng = random.Random(1)
    for _ in range(20):
        for action in plan(world.snapshot(), policy, NOW):
            world.perform(action)
        while world.spawns:
            world.finish_a_spawn(rng)
        world.check()
        if len(world.served) < 4:
            world.owned -= 1
    assert sorted(world.served) == ["a", "b", "c", "d"]
    assert world.ready == min(2, 4 - world.owned)


# --- reap and the estimate -----------------------------------------------------------------------------

ids = st.lists(st.text("abcdef", min_size=4, max_size=4), max_size=12, unique=True).map(tuple)


@given(ids, ids, ids, st.integers(0, 30))
def test_reap(unclaimed: tuple[str, ...], inactive: tuple[str, ...], old: tuple[str, ...], ready: int) -> None:
    ends = reap(Aging(unclaimed, inactive, (AgedPool(old, ready),)))
    by_state = {state: [e.session_id for e in ends if e.state is state] for state in SessionState}
    assert by_state[SessionState.ASSIGNED] == list(unclaimed)
    assert by_state[SessionState.ACTIVE] == list(inactive)
    assert by_state[SessionState.READY] == list(old[: max(1, ready // 2)])
    assert len(ends) == sum(map(len, by_state.values()))


def test_reap_says_why_and_never_empties_the_pool_at_once() -> None:
    assert reap(Aging(("u",), ("i",), (AgedPool(("w1", "w2", "w3", "w4"), ready=4),))) == [
        EndSession("u", SessionState.ASSIGNED, "nobody joined in time"),
        EndSession("i", SessionState.ACTIVE, "inactive"),
        EndSession("w1", SessionState.READY, "recycled: it waited long enough"),
        EndSession("w2", SessionState.READY, "recycled: it waited long enough"),
    ]
    assert len(reap(Aging((), (), (AgedPool(("w",), ready=1),)))) == 1, "a pool of one is recycled too"


@pytest.mark.parametrize(("position", "rounds"), [(1, 1), (4, 1), (5, 2), (8, 2), (9, 3)])
def test_estimated_wait(position: int, rounds: int) -> None:
    assert estimated_wait_s(position, 0.4, 4) == pytest.approx(rounds * 0.4)


@pytest.mark.parametrize(
    ("snapshot", "count", "call_s", "wait_s"),
    [
        (one_kind(0, 8), 2, None, 0.0),
        (one_kind(0, 8), 3, None, None),
        (one_kind(0, 8), 3, 80.0, 10.0),
        (one_kind(0, 10), 4, 80.0, 32.0),
        (one_kind(2, 7, (spawning("a", warm=False),)), 1, 80.0, 10.0),
        (one_kind(2, 8, (), (), True, 9), 1, 80.0, 10.0),
        (one_kind(0, 2, (), (), True, 0), 1, 80.0, 40.0),
        (one_kind(0, 0, (), (), True, 0), 1, 80.0, None),
        (one_kind(10, 0), 1, 80.0, None),
        (one_kind(0, 2, (), (), False), 1, 80.0, None),
        (one_kind(0, 2, may_begin=0), 1, 80.0, None),
        (one_kind(0, 2, may_begin=1), 1, 80.0, None),
    ],
)
def test_places_become_free_as_calls_end(
    snapshot: PoolSnapshot, count: int, call_s: float | None, wait_s: float | None
) -> None:
    assert wait_for_places_s(count, D, snapshot, POLICY, call_s) == wait_s


def test_of_a_kind_that_is_not_known_here_nobody_can_say_when_one_is_free() -> None:
    assert wait_for_places_s(1, "sales", one_kind(0, 2), POLICY, 80.0) is None


def test_a_kind_that_has_its_most_waits_for_calls_too() -> None:
    full = replace(one_kind(0, 2), kinds={D: KindSnapshot(0, agents=2)})
    policy = replace(POLICY, kinds={D: KindPolicy(3, most=2)})
    assert wait_for_places_s(1, D, full, policy, 80.0) == 40.0


@given(st.integers(1, 1000), st.floats(0, 60), st.integers(1, 64))
def test_estimated_wait_grows_with_the_place(position: int, spawn_s: float, concurrency: int) -> None:
    here = estimated_wait_s(position, spawn_s, concurrency)
    assert spawn_s <= here <= estimated_wait_s(position + 1, spawn_s, concurrency)
