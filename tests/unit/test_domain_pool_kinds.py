"""The pool's policy with several kinds of agents: what it decides in known situations, and what it promises in all."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.pool import (
    Abandon,
    Action,
    Dispatch,
    GiveUp,
    KindPolicy,
    KindSnapshot,
    PoolPolicy,
    PoolSnapshot,
    Respawn,
    Retire,
    SpawnUnderWay,
    SpawnWarm,
    TurnAway,
    Waiting,
    plan,
)

NOW = 1_000_000.0
KINDS = ("a", "b", "c")
POLICY = PoolPolicy({"a": KindPolicy(2), "b": KindPolicy(4)}, max_agents=10)


def pools(
    owned: int = 0, *waiting: Waiting, spawning: tuple[SpawnUnderWay, ...] = (), **kinds: KindSnapshot
) -> PoolSnapshot:
    return PoolSnapshot({"a": KindSnapshot(), "b": KindSnapshot()} | kinds, owned, spawning, waiting)


def user(name: str, kind: str, since: float = NOW - 1) -> Waiting:
    return Waiting(name, since, NOW, kind)


def has(ready: int, **more: object) -> KindSnapshot:
    return KindSnapshot(ready, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("snapshot", "policy", "expected"),
    [
        pytest.param(
            pools(), POLICY, [SpawnWarm("a"), SpawnWarm("b"), SpawnWarm("b"), SpawnWarm("a")],
            id="who has the least part of its target comes first",
        ),
        pytest.param(pools(a=has(2), b=has(4)), POLICY, [], id="all at their targets"),
        pytest.param(pools(a=has(5), b=has(3)), POLICY, [Retire(3, "a"), SpawnWarm("b")], id="each by itself"),
        pytest.param(
            pools(0, user("1", "a"), user("2", "b")), POLICY,
            [Dispatch("1", "a"), Dispatch("2", "b"), SpawnWarm("a"), SpawnWarm("b")],
            id="one queue, and then the pools",
        ),
        pytest.param(
            pools(9, user("1", "a", NOW - 2), user("2", "b", NOW - 3)), POLICY, [Dispatch("2", "b")],
            id="one place: the first who came, whatever the kind",
        ),
        pytest.param(
            pools(
                4, user("1", "a", NOW - 60), user("2", "b", NOW - 60), user("3", "unknown", NOW - 60),
                a=has(0, may_begin=0, failing_since=NOW - 60), b=has(4, host_room=0),
            ),
            POLICY, [TurnAway("1", "agents could not be started: spawns kept failing"), Retire(1, "b")],
            id="who waits for another kind is not turned away",
        ),
        pytest.param(
            pools(0, user("1", "a", NOW - 9), user("2", "b"), a=has(1, may_begin=0), b=has(4)), POLICY,
            [Dispatch("2", "b")],
            id="an open breaker holds up its own kind alone",
        ),
        pytest.param(
            pools(0, user("1", "a", NOW - 9), user("2", "b"), a=has(1, can_spawn=False), b=has(4)), POLICY,
            [Dispatch("2", "b")],
            id="so does having no host",
        ),
        pytest.param(
            pools(3, user("1", "a", NOW - 9), user("2", "b"), a=has(1, agents=4), b=has(3)),
            replace(POLICY, kinds={"a": KindPolicy(2, most=4), "b": KindPolicy(4)}),
            [Dispatch("2", "b"), Retire(1, "a"), SpawnWarm("b")],
            id="at its own most a kind makes room for its user, and holds up nobody",
        ),
        pytest.param(
            pools(0, user("1", "a"), a=has(0, host_room=0, beside=frozenset({"a"})), b=has(3)), POLICY,
            [SpawnWarm("b")],
            id="full hosts of one kind are not the others'",
        ),
        pytest.param(
            pools(0, user("1", "a"), a=has(0, host_room=0, beside=frozenset({"a", "b"})), b=has(3)), POLICY,
            [Retire(1, "b")],
            id="where they are the others', too, these make room",
        ),
        pytest.param(
            pools(5, user("1", "a"), a=has(2), b=has(3)), POLICY, [Retire(1, "a")],
            id="at MAX_BOTS the pool that lacks least makes room",
        ),
        pytest.param(
            pools(0, a=has(0, may_begin=1), b=has(3)), POLICY, [SpawnWarm("a"), SpawnWarm("b")],
            id="half-open: one try, beside the others",
        ),
        pytest.param(
            pools(0, user("1", "z"), spawning=(SpawnUnderWay("2", True, NOW - 1, 1, kind="z"),), a=has(2), b=has(3)),
            POLICY, [Respawn("2", "z"), SpawnWarm("b")],
            id="a kind that is not known here is left alone, and counts",
        ),
    ],
)  # fmt: skip
def test_plan(snapshot: PoolSnapshot, policy: PoolPolicy, expected: list[Action]) -> None:
    assert plan(snapshot, policy, NOW) == expected


# --- what holds in every situation ---------------------------------------------------------------------

times = st.sampled_from([NOW - 100, NOW - 16, NOW - 15, NOW - 1, NOW, NOW + 1, NOW + 100])
limits = st.none() | st.integers(0, 8)


@st.composite
def policies(draw: st.DrawFn) -> PoolPolicy:
    kinds = {kind: KindPolicy(draw(st.integers(0, 6)), draw(limits)) for kind in KINDS}
    return PoolPolicy(kinds, draw(st.integers(1, 20)), draw(st.integers(1, 6)), draw(st.integers(1, 3)))


@st.composite
def snapshots(draw: st.DrawFn) -> PoolSnapshot:
    some = st.sampled_from([*KINDS, "unknown"])
    spawns = draw(st.lists(st.tuples(st.booleans(), times, st.integers(0, 4), st.booleans(), some), max_size=8))
    queue = draw(st.lists(st.tuples(times, times, some), max_size=8))
    kinds = {
        kind: KindSnapshot(
            draw(st.integers(0, 8)),
            draw(st.integers(0, 10)),
            draw(st.booleans()),
            draw(limits),
            draw(st.none() | st.frozensets(st.sampled_from(KINDS)).map(lambda others, own=kind: others | {own})),
            *draw(st.just((None, None)) | st.tuples(st.sampled_from([0, 1]), times)),
        )
        for kind in KINDS
    }
    return PoolSnapshot(
        kinds,
        draw(st.integers(0, 15)),
        tuple(SpawnUnderWay(f"s{i}", *row) for i, row in enumerate(spawns)),
        tuple(Waiting(f"w{i}", *row) for i, row in enumerate(queue)),
    )


def begun_of(actions: list[Action]) -> Counter[str]:
    return Counter(action.kind for action in actions if isinstance(action, SpawnWarm | Dispatch))


@given(snapshots(), policies())
def test_limits_hold_for_any_snapshot(snapshot: PoolSnapshot, policy: PoolPolicy) -> None:
    actions = plan(snapshot, policy, NOW)
    begun, warm = begun_of(actions), Counter(a.kind for a in actions if isinstance(a, SpawnWarm))
    given_up = Counter(a.kind for a in actions if isinstance(a, GiveUp))
    under_way = Counter(spawn.kind for spawn in snapshot.spawning) - given_up
    if begun:
        assert snapshot.agents - given_up.total() + begun.total() <= policy.max_agents
        assert under_way.total() + begun.total() <= policy.spawn_concurrency
    for kind, state in snapshot.kinds.items():
        target, most = policy.kinds[kind].target, policy.kinds[kind].most
        if begun[kind]:
            assert state.can_spawn
            assert state.may_begin != 0
            assert most is None or state.agents - given_up[kind] + begun[kind] <= most
            beside = state.beside if state.beside is not None else set(under_way) | set(KINDS)
            assert state.host_room is None or sum(under_way[k] for k in beside) + begun[kind] <= state.host_room
        turned_away = {a.session_id for a in actions if isinstance(a, TurnAway)}
        assert turned_away.isdisjoint(a.session_id for a in actions if isinstance(a, Dispatch | Abandon))
        if state.may_begin == 1:
            assert begun[kind] == warm[kind] <= 1, "one try, for the pool"
        elif warm[kind]:
            assert state.ready + snapshot.warming(kind) + warm[kind] <= target
    assert all(kind in KINDS for kind in begun)


@given(snapshots(), policies())
def test_what_every_pool_gets_is_no_more_than_all_lack(snapshot: PoolSnapshot, policy: PoolPolicy) -> None:
    warm = [a.kind for a in plan(snapshot, policy, NOW) if isinstance(a, SpawnWarm)]
    grown = sum(snapshot.kinds[kind].is_open for kind in warm)
    lacking = {
        kind: max(0, policy.kinds[kind].target - state.ready - snapshot.warming(kind))
        for kind, state in snapshot.kinds.items()
    }
    assert grown <= sum(lacking.values())


@given(snapshots(), policies())
def test_users_of_open_kinds_are_served_in_their_order(snapshot: PoolSnapshot, policy: PoolPolicy) -> None:
    actions = plan(snapshot, policy, NOW)
    gone = {a.session_id for a in actions if isinstance(a, Abandon)}
    served = [a.session_id for a in actions if isinstance(a, Dispatch)]
    by_id = {w.session_id: w for w in snapshot.waiting}
    for kind in KINDS:
        queue = sorted((w.since, i) for i, w in by_id.items() if w.kind == kind and i not in gone)
        own = [i for i in served if by_id[i].kind == kind]
        assert [by_id[i].since for i in own] == [since for since, _ in queue[: len(own)]], "first come, first served"
        assert not own or snapshot.kinds[kind].is_open
    assert len(set(served)) == len(served)
    assert not gone & set(served)
    assert [by_id[i].since for i in served] == sorted(by_id[i].since for i in served), "whatever the kind"


@given(snapshots(), policies())
def test_a_kind_that_is_held_up_changes_nothing_for_the_others(snapshot: PoolSnapshot, policy: PoolPolicy) -> None:
    held = replace(
        snapshot, kinds={k: replace(s, can_spawn=s.can_spawn and k != "a") for k, s in snapshot.kinds.items()}
    )
    without = replace(held, waiting=tuple(w for w in held.waiting if w.kind != "a"))
    own = {w.session_id for w in held.waiting if w.kind == "a"}
    of_others = [a for a in plan(held, policy, NOW) if not (isinstance(a, Abandon | TurnAway) and a.session_id in own)]
    assert of_others == plan(without, policy, NOW)


@given(snapshots(), policies())
def test_no_more_is_retired_than_a_pool_has(snapshot: PoolSnapshot, policy: PoolPolicy) -> None:
    actions = plan(snapshot, policy, NOW)
    retired = Counter({a.kind: a.count for a in actions if isinstance(a, Retire)})
    unserved = len(snapshot.waiting) - sum(isinstance(a, Dispatch | Abandon) for a in actions)
    surplus = {kind: max(0, state.ready - policy.kinds[kind].target) for kind, state in snapshot.kinds.items()}
    for kind, count in retired.items():
        assert 0 < count <= snapshot.kinds[kind].ready
        assert snapshot.kinds[kind].is_open, "a kind that is held up keeps what it has"
        assert SpawnWarm(kind) not in actions
    assert retired.total() <= sum(surplus.values()) + unserved


# --- simulated rounds ----------------------------------------------------------------------------------


@dataclass
class World:
    """What the store's scripts do with each action, in a few lines: they check every reservation again."""

    policy: PoolPolicy
    ready: Counter[str] = field(default_factory=Counter)
    owned: Counter[str] = field(default_factory=Counter)
    spawns: dict[str, tuple[str, bool]] = field(default_factory=dict)
    queue: dict[str, str] = field(default_factory=dict)
    made: int = 0

    def of(self, kind: str) -> int:
        return self.ready[kind] + self.owned[kind] + sum(k == kind for k, _ in self.spawns.values())

    def snapshot(self) -> PoolSnapshot:
        kinds = {kind: KindSnapshot(self.ready[kind], self.of(kind)) for kind in KINDS}
        under_way = tuple(SpawnUnderWay(i, warm, NOW + 9, 0, kind=k) for i, (k, warm) in self.spawns.items())
        users = tuple(Waiting(i, float(n), NOW, kind) for n, (i, kind) in enumerate(self.queue.items()))
        return PoolSnapshot(kinds, self.owned.total(), under_way, users)

    def perform(self, action: Action) -> None:
        match action:
            case SpawnWarm(kind) if self._room(kind) and self._warm(kind) < self.policy.kinds[kind].target:
                self.made += 1
                self.spawns[f"warm{self.made}"] = (kind, True)
            case Dispatch(name, kind) if self._room(kind) and name in self.queue:
                del self.queue[name]
                self.spawns[name] = (kind, False)
            case Retire(count, kind):
                self.ready[kind] -= min(count, self.ready[kind])

    def _warm(self, kind: str) -> int:
        return self.ready[kind] + sum(k == kind and warm for k, warm in self.spawns.values())

    def _room(self, kind: str) -> bool:
        most = self.policy.kinds[kind].most
        agents = self.ready.total() + self.owned.total() + len(self.spawns)
        free = agents < self.policy.max_agents and len(self.spawns) < self.policy.spawn_concurrency
        return free and (most is None or self.of(kind) < most)

    def finish_a_spawn(self, rng: random.Random) -> None:
        if self.spawns:
            kind, warm = self.spawns.pop(rng.choice(sorted(self.spawns)))
            (self.ready if warm else self.owned)[kind] += 1


@given(policies(), st.lists(st.sampled_from(KINDS), max_size=10), st.integers(0, 2**32))
def test_rounds_converge_with_two_refills_at_once(policy: PoolPolicy, users: list[str], seed: int) -> None:
    rng = random.Random(seed)
    world = World(policy, queue={f"user{i}": kind for i, kind in enumerate(users)})
    for _ in range(60):
        twice = plan(world.snapshot(), policy, NOW) * 2
        rng.shuffle(twice)
        for action in twice:
            world.perform(action)
            if rng.random() < 0.3:
                world.finish_a_spawn(rng)
        world.finish_a_spawn(rng)
    assert not world.spawns
    left = policy.max_agents - world.ready.total() - world.owned.total()
    for kind in KINDS:
        own, waiting = policy.kinds[kind], [k for k in world.queue.values() if k == kind]
        at_most = own.most is not None and world.of(kind) >= own.most
        assert not waiting or left == 0 or at_most, "a user waits only when there is no capacity at all"
        if not world.queue:
            assert world.ready[kind] == own.target or left == 0 or at_most
