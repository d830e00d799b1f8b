"""What to do about the pool: pure policy. It is given what is, and returns what should be done.

Each kind of agent has a pool of its own; they share ``MAX_BOTS``, the hosts' room and the spawns at once.
The two functions are total: any snapshot gives a list of actions that keeps these promises, whatever the order
in which their effects arrive:

* never more than ``max_agents`` agents (waiting, talking and starting together), nor than the hosts have room for,
  nor of a kind than its most;
* never more than ``spawn_concurrency`` spawns under way, and users who wait come before the pool;
* a user whose kind is held up (its breaker is open, it has its most, no host serves it) holds up nobody else;
* ready + starting never exceeds a kind's target, so two refills at once do not over-spawn;
* no more is begun than a kind's spawn breaker lets, and the one try that it lets may exceed the target;
* the pool grows a moment later where users who were just handed an agent would share the processors with that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from contract.keys import DEFAULT_KIND
from contract.states import SessionState

YIELD_S, JOIN_S, MOST_YIELD_S = 1.5, 0.35, 5.0
"""So long the pool waits for users to join, and ``JOIN_S`` longer for each that a processor has to let join: a crowd
needs it, and single users who come one after another hold no refill up. ``MOST_YIELD_S`` at most, and so long a user
may take to be waited for."""
LOOK_AGAIN_S = 0.25


@dataclass(frozen=True)
class SpawnUnderWay:
    """A spawn that was queued and has not come to an end."""

    session_id: str
    warm: bool
    deadline: float
    attempts: int
    replaces: bool = False
    """For a session whose agent died."""
    kind: str = DEFAULT_KIND


@dataclass(frozen=True)
class Waiting:
    """A user's session that waits for capacity."""

    session_id: str
    since: float
    last_seen: float
    kind: str = DEFAULT_KIND


@dataclass(frozen=True)
class KindSnapshot:
    """The pool of one kind."""

    ready: int = 0
    """Warm agents in the pool."""
    agents: int = 0
    """All of this kind, also those under way: what its most is kept by."""
    can_spawn: bool = True
    """False while no host takes its spawns: whoever waits goes on waiting, and nothing is started."""
    host_room: int | None = None
    """Agents that the hosts which serve it can still take, as they measured, those under way not taken off.
    None: not known."""
    beside: frozenset[str] | None = None
    """The kinds that these hosts serve: their spawns under way may take that room. None: all."""
    may_begin: int | None = None
    """Spawns that the breaker lets begin: none, one try, or (None) any number."""
    failing_since: float | None = None
    """Since when its spawns have kept failing; None also while one is or may be tried: it may succeed."""

    @property
    def is_open(self) -> bool:
        """Whether its spawns are begun as they are needed."""
        return self.can_spawn and self.may_begin is None


@dataclass(frozen=True)
class Joining:
    """Users who were handed an agent within ``MOST_YIELD_S`` and are not in its room yet."""

    users: int = 0
    cores: float = 0.0
    """Processors that all living hosts may use; 0: not known."""
    lacking_since: float | None = None
    """Since when the pool lacks what it lacks longest."""

    def go_first(self, now: float) -> bool:
        """Whether the pool's own spawns wait for them: joining takes half a core each, and a spawn as much."""
        if self.lacking_since is None or not self.users or not self.users * 2 >= self.cores > 0:
            return False
        yield_s = min(MOST_YIELD_S, YIELD_S + JOIN_S * self.users / self.cores)
        return now - self.lacking_since < yield_s


@dataclass(frozen=True)
class PoolSnapshot:
    """The pools at one moment, read atomically."""

    kinds: Mapping[str, KindSnapshot]
    """Those that are steered from here. Others count where all do, and are left alone."""
    owned: int
    """Agents that belong to a user, were taken out of the pool and are ending, or are of another kind."""
    spawning: tuple[SpawnUnderWay, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    joining: Joining = Joining()

    @property
    def ready(self) -> int:
        """Warm agents of all these kinds."""
        return sum(state.ready for state in self.kinds.values())

    @property
    def agents(self) -> int:
        """All agents, also those under way."""
        return self.ready + self.owned + len(self.spawning)

    @property
    def calls(self) -> int:
        """Agents that belong to a user, or are being started for one."""
        return self.owned + sum(not spawn.warm for spawn in self.spawning)

    def warming(self, kind: str) -> int:
        """Spawns under way for the pool of this kind."""
        return sum(spawn.warm for spawn in self.spawning if spawn.kind == kind)


@dataclass(frozen=True)
class KindPolicy:
    """The settings of one kind's pool."""

    target: int
    most: int | None = None
    """Agents of this kind at most, waiting, talking and starting; None for no limit of its own."""


@dataclass(frozen=True)
class PoolPolicy:
    """The pools' settings."""

    kinds: Mapping[str, KindPolicy]
    max_agents: int
    spawn_concurrency: int = 4
    spawn_tries: int = 3
    waiting_client_timeout_s: float = 15.0
    """A waiting user who has not asked for so long went away and gives up the place."""
    failing_patience_s: float = 15.0
    """So long a user waits while spawns keep failing, and until the next try has failed as well: longer than LiveKit
    takes to restart, shorter than anybody stays who hears nothing."""


@dataclass(frozen=True)
class SpawnWarm:
    """Start one more agent for the pool."""

    kind: str = DEFAULT_KIND


@dataclass(frozen=True)
class Dispatch:
    """Start the agent of a user who waited for capacity."""

    session_id: str
    kind: str = DEFAULT_KIND


@dataclass(frozen=True)
class Respawn:
    """Queue this spawn again: its try came to no end in its time."""

    session_id: str
    kind: str = DEFAULT_KIND


@dataclass(frozen=True)
class GiveUp:
    """Fail this session."""

    session_id: str
    code: str
    reason: str
    kind: str = DEFAULT_KIND


@dataclass(frozen=True)
class Abandon:
    """End this waiting session: its caller went away."""

    session_id: str


@dataclass(frozen=True)
class TurnAway:
    """Fail this waiting session: agents of its kind cannot be started."""

    session_id: str
    reason: str


@dataclass(frozen=True)
class Retire:
    """Take so many agents out of the pool and end them."""

    count: int
    kind: str = DEFAULT_KIND


@dataclass(frozen=True)
class LookAgain:
    """Plan again in ``LOOK_AGAIN_S``: the pool lacks agents, and users who join go first."""


Action = SpawnWarm | Dispatch | Respawn | GiveUp | Abandon | TurnAway | Retire | LookAgain


class _Lack(Enum):
    """What a kind lacks for one more agent, the narrowest first."""

    OF_ITS_OWN = "it has its most"
    ON_ITS_HOSTS = "the hosts that serve it are full"
    AT_ALL = "there are as many agents as there may be"


class _Room:
    """What is left of every limit, as one spawn after the other is decided on."""

    def __init__(self, snapshot: PoolSnapshot, policy: PoolPolicy, given_up: Sequence[SpawnUnderWay]) -> None:
        self._kinds = snapshot.kinds
        self._policy = policy
        over = Counter(spawn.kind for spawn in given_up)
        self._under_way = Counter(spawn.kind for spawn in snapshot.spawning) - over
        self._left = policy.max_agents - (snapshot.agents - len(given_up))
        self._of_kind = {kind: state.agents - over[kind] for kind, state in snapshot.kinds.items()}
        self.slots = policy.spawn_concurrency - self._under_way.total()
        """Spawns that may still be begun at once."""

    def lack(self, kind: str) -> _Lack | None:
        """What stands in the way of one more agent of this kind."""
        return next((lack for lack, left in self._left_of_each(kind) if left <= 0), None)

    def left(self, kind: str) -> int:
        """How many more agents of this kind there may be."""
        return max(0, min(left for _, left in self._left_of_each(kind)))

    def _left_of_each(self, kind: str) -> Iterator[tuple[_Lack, int]]:
        most, host_room = self._policy.kinds[kind].most, self._kinds[kind].host_room
        if most is not None:
            yield _Lack.OF_ITS_OWN, most - self._of_kind[kind]
        if host_room is not None:
            yield _Lack.ON_ITS_HOSTS, host_room - sum(self._under_way[each] for each in self.beside(kind))
        yield _Lack.AT_ALL, self._left

    def beside(self, kind: str) -> Collection[str]:
        """The kinds that share its hosts, itself included."""
        shared = self._kinds[kind].beside
        return self._under_way.keys() | self._kinds.keys() if shared is None else shared | {kind}

    def among(self, kind: str, lack: _Lack) -> Collection[str]:
        """Whose agents make room for this kind when they go."""
        if lack is _Lack.OF_ITS_OWN:
            return {kind}
        return self.beside(kind) if lack is _Lack.ON_ITS_HOSTS else self._kinds.keys()

    def take(self, kind: str) -> None:
        """One more of this kind has its place."""
        self._left -= 1
        self._under_way[kind] += 1
        self._of_kind[kind] += 1


def plan(snapshot: PoolSnapshot, policy: PoolPolicy, now: float) -> list[Action]:
    """What brings the pools nearer to their targets, most urgent first."""
    overdue = [spawn for spawn in snapshot.spawning if spawn.deadline <= now]
    gone = [w for w in snapshot.waiting if now - w.last_seen > policy.waiting_client_timeout_s]
    room = _Room(snapshot, policy, [spawn for spawn in overdue if spawn.attempts >= policy.spawn_tries])
    actions: list[Action] = [_after_deadline(spawn, policy) for spawn in overdue]
    actions += [Abandon(w.session_id) for w in gone]
    queue = _queue(snapshot, {w.session_id for w in gone})
    actions += _turned_away(queue, snapshot, policy, now)
    served, lacking, is_held = _serve(_able(queue, snapshot), snapshot, room)
    actions += served
    actions += _tries(snapshot, room)
    retired = _retire(snapshot, policy, room, lacking)
    actions += [Retire(count, kind) for kind, count in retired.items() if count > 0]
    if is_held or any(lack is _Lack.AT_ALL for _, lack in lacking):
        return actions  # a user waits for what any agent for the pool would take
    held = {each for kind, lack in lacking for each in room.among(kind, lack)}
    growing = [kind for kind, state in snapshot.kinds.items() if state.is_open and kind not in held]
    grown = _grow(snapshot, policy, room, growing)
    # A refill waits in its worker, and with one spawn at a time that is all that there is for users, too.
    if grown and policy.spawn_concurrency > 1 and snapshot.joining.go_first(now):
        return [*actions, LookAgain()]
    return actions + grown


def _after_deadline(spawn: SpawnUnderWay, policy: PoolPolicy) -> Action:
    if spawn.attempts < policy.spawn_tries:
        return Respawn(spawn.session_id, spawn.kind)
    return GiveUp(spawn.session_id, "spawn_timeout", f"no agent came in {spawn.attempts} tries", spawn.kind)


def _turned_away(
    queue: Sequence[Waiting], snapshot: PoolSnapshot, policy: PoolPolicy, now: float
) -> Iterator[TurnAway]:
    """Users who waited long enough for spawns that keep failing."""
    since = {kind: state.failing_since for kind, state in snapshot.kinds.items() if state.failing_since is not None}
    for user in queue:
        if user.kind in since and now - max(since[user.kind], user.since) > policy.failing_patience_s:
            yield TurnAway(user.session_id, "agents could not be started: spawns kept failing")


def _queue(snapshot: PoolSnapshot, gone: Collection[str]) -> list[Waiting]:
    """Users who still wait, in the order in which they are served."""
    order = sorted(snapshot.waiting, key=lambda w: (w.since, w.session_id))
    return [w for w in order if w.session_id not in gone]


def _able(queue: Sequence[Waiting], snapshot: PoolSnapshot) -> list[Waiting]:
    """Those whose kind is not held up."""
    return [w for w in queue if w.kind in snapshot.kinds and snapshot.kinds[w.kind].is_open]


def _serve(
    queue: Sequence[Waiting], snapshot: PoolSnapshot, room: _Room
) -> tuple[list[Dispatch], list[tuple[str, _Lack]], bool]:
    """Who is served now; what the others lack, by kind; and whether somebody has room, and waits for a free spawn."""
    served: list[Dispatch] = []
    lacking: list[tuple[str, _Lack]] = []
    is_held = False
    for user in queue:
        lack = room.lack(user.kind)
        if lack is not None:
            lacking.append((user.kind, lack))
            continue
        room.take(user.kind)
        if room.slots > 0:
            room.slots -= 1
            served.append(Dispatch(user.session_id, user.kind))
        else:
            is_held = True
    return served, lacking, is_held


def _tries(snapshot: PoolSnapshot, room: _Room) -> list[SpawnWarm]:
    """Spawns failed, and one is tried: for the pool, also if that lacks none, so that it costs no user's tries."""
    tried = []
    for kind, state in snapshot.kinds.items():
        if state.can_spawn and state.may_begin and room.slots > 0 and room.lack(kind) is None:
            room.take(kind)
            room.slots -= 1
            tried.append(SpawnWarm(kind))
    return tried


def _retire(
    snapshot: PoolSnapshot, policy: PoolPolicy, room: _Room, lacking: Sequence[tuple[str, _Lack]]
) -> dict[str, int]:
    """What each pool has too much, and as many more as users lack capacity, from the pools that have most to spare.

    A kind whose spawns are held up keeps what it has.
    """
    pools = {kind: state.ready for kind, state in snapshot.kinds.items() if state.is_open}
    retired = {kind: max(0, ready - policy.kinds[kind].target) for kind, ready in pools.items()}
    spare = Counter(retired)
    for kind, lack in lacking:
        among = [each for each in room.among(kind, lack) if each in pools]
        freed = next((each for each in among if spare[each] > 0), None)
        if freed is not None:
            spare[freed] -= 1
            continue
        left = {each: pools[each] - retired[each] for each in among if pools[each] > retired[each]}
        if left:
            retired[max(left, key=lambda each: (left[each] - policy.kinds[each].target, each))] += 1
    return retired


def _grow(snapshot: PoolSnapshot, policy: PoolPolicy, room: _Room, kinds: Sequence[str]) -> list[SpawnWarm]:
    """One agent after the other for the kind that has the least part of its target, as far as the limits let it."""
    has = {kind: snapshot.kinds[kind].ready + snapshot.warming(kind) for kind in kinds}
    begun: list[SpawnWarm] = []
    while room.slots > 0:
        lacking = [k for k in kinds if has[k] < policy.kinds[k].target and room.lack(k) is None]
        if not lacking:
            break
        kind = min(lacking, key=lambda k: has[k] / policy.kinds[k].target)
        has[kind] += 1
        room.take(kind)
        room.slots -= 1
        begun.append(SpawnWarm(kind))
    return begun


@dataclass(frozen=True)
class AgedPool:
    """The agents of one kind that wait."""

    old: tuple[str, ...]
    """In the pool for longer than a waiting agent should be, oldest first."""
    ready: int


@dataclass(frozen=True)
class Aging:
    """Sessions that have been in a state for longer than it may last, oldest first, read atomically."""

    unclaimed: tuple[str, ...]
    """Assigned, and nobody joined within the lease."""
    inactive: tuple[str, ...]
    """Active, and nothing happened for the inactivity limit."""
    pools: tuple[AgedPool, ...] = ()
    """Of each kind with old ones."""


@dataclass(frozen=True)
class EndSession:
    """End this session for a reason in words, if it is still in this state."""

    session_id: str
    state: SessionState
    reason: str


def reap(aging: Aging) -> list[EndSession]:
    """Which sessions to end. Old warm agents go half a kind's pool at a time, so that none is emptied at once."""
    old = [session_id for pool in aging.pools for session_id in pool.old[: max(1, pool.ready // 2)]]
    return [
        *(EndSession(session_id, SessionState.ASSIGNED, "nobody joined in time") for session_id in aging.unclaimed),
        *(EndSession(session_id, SessionState.ACTIVE, "inactive") for session_id in aging.inactive),
        *(EndSession(session_id, SessionState.READY, "recycled: it waited long enough") for session_id in old),
    ]


def estimated_wait_s(position: int, spawn_s: float, concurrency: int) -> float:
    """How long a spawn in this place (from 1) will take: whole rounds of ``concurrency`` spawns."""
    rounds = -(-position // concurrency)
    return rounds * spawn_s


def wait_for_places_s(
    count: int, kind: str, snapshot: PoolSnapshot, policy: PoolPolicy, call_s: float | None
) -> float | None:
    """How long until so many more agents of this kind may be started; None where nobody can say.

    What is taken becomes free as calls end: of so many that take ``call_s`` each, one does every ``call_s / calls``.
    """
    state = snapshot.kinds.get(kind)
    if state is None or not state.is_open:
        return None
    lacking = count - _Room(snapshot, policy, ()).left(kind)
    if lacking <= 0:
        return 0.0
    return None if call_s is None or snapshot.calls == 0 else lacking * call_s / snapshot.calls
