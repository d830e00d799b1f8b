"""What to do about the pool: pure policy. It is given what is, and returns what should be done.

The two functions are total: any snapshot gives a list of actions that keeps these promises, whatever the order
in which their effects arrive:

* never more than ``max_agents`` agents (waiting, talking and starting together), nor than the hosts have room for;
* never more than ``spawn_concurrency`` spawns under way, and users who wait come before the pool;
* ready + starting never exceeds the target, so two refills at once do not over-spawn;
* no more is begun than the spawn breaker lets, and the one try that it lets may exceed the target.
"""

from __future__ import annotations

from dataclasses import dataclass

from contract.states import SessionState


@dataclass(frozen=True)
class SpawnUnderWay:
    """A spawn that was queued and has not come to an end."""

    session_id: str
    warm: bool
    deadline: float
    attempts: int
    replaces: bool = False
    """For a session whose agent died."""


@dataclass(frozen=True)
class Waiting:
    """A user's session that waits for capacity."""

    session_id: str
    since: float
    last_seen: float


@dataclass(frozen=True)
class PoolSnapshot:
    """The pool at one moment, read atomically."""

    ready: int
    """Warm agents in the pool."""
    owned: int
    """Agents that belong to a user, or were taken out of the pool and are ending."""
    spawning: tuple[SpawnUnderWay, ...] = ()
    waiting: tuple[Waiting, ...] = ()
    can_spawn: bool = True
    """False while every host drains: whoever waits goes on waiting, and nothing is started."""
    host_room: int | None = None
    """Agents that the hosts can still take, as they measured, those under way not taken off. None: not known."""
    may_begin: int | None = None
    """Spawns that the breaker lets begin: none, one try, or (None) any number."""

    @property
    def agents(self) -> int:
        """All agents, also those under way."""
        return self.ready + self.owned + len(self.spawning)

    @property
    def warming(self) -> int:
        """Spawns under way for the pool."""
        return sum(spawn.warm for spawn in self.spawning)


@dataclass(frozen=True)
class PoolPolicy:
    """The pool's settings."""

    target: int
    max_agents: int
    spawn_concurrency: int = 4
    spawn_tries: int = 3
    waiting_client_timeout_s: float = 15.0
    """A waiting user who has not asked for so long went away and gives up the place."""


@dataclass(frozen=True)
class SpawnWarm:
    """Start one more agent for the pool."""


@dataclass(frozen=True)
class Dispatch:
    """Start the agent of a user who waited for capacity."""

    session_id: str


@dataclass(frozen=True)
class Respawn:
    """Queue this spawn again: its try came to no end in its time."""

    session_id: str


@dataclass(frozen=True)
class GiveUp:
    """Fail this session."""

    session_id: str
    code: str
    reason: str


@dataclass(frozen=True)
class Abandon:
    """End this waiting session: its caller went away."""

    session_id: str


@dataclass(frozen=True)
class Retire:
    """Take so many agents out of the pool and end them."""

    count: int


Action = SpawnWarm | Dispatch | Respawn | GiveUp | Abandon | Retire


def plan(snapshot: PoolSnapshot, policy: PoolPolicy, now: float) -> list[Action]:
    """What brings the pool nearer to its target, most urgent first."""
    overdue = [spawn for spawn in snapshot.spawning if spawn.deadline <= now]
    gone = [w for w in snapshot.waiting if now - w.last_seen > policy.waiting_client_timeout_s]
    given_up = sum(spawn.attempts >= policy.spawn_tries for spawn in overdue)
    actions: list[Action] = [_after_deadline(spawn, policy) for spawn in overdue]
    actions += [Abandon(w.session_id) for w in gone]
    if not snapshot.can_spawn or snapshot.may_begin == 0:
        return actions
    room = _room(snapshot, policy, given_up)
    if snapshot.may_begin is not None:
        return actions + _one_try(snapshot, policy, room, given_up)
    free_spawns = policy.spawn_concurrency - (len(snapshot.spawning) - given_up)
    queue = _queue(snapshot, gone={w.session_id for w in gone})
    dispatched = queue[: max(0, min(room, free_spawns))]
    actions += [Dispatch(session_id) for session_id in dispatched]
    if len(dispatched) < len(queue):
        return actions + _make_room(snapshot, policy, lacking=len(queue) - max(0, room))
    return actions + _towards_target(snapshot, policy, room - len(dispatched), used=len(dispatched) - given_up)


def _room(snapshot: PoolSnapshot, policy: PoolPolicy, given_up: int) -> int:
    """How many more agents there may be, by ``MAX_BOTS`` and by what the hosts measured."""
    room = policy.max_agents - (snapshot.agents - given_up)
    if snapshot.host_room is None:
        return room
    return min(room, snapshot.host_room - (len(snapshot.spawning) - given_up))


def _after_deadline(spawn: SpawnUnderWay, policy: PoolPolicy) -> Action:
    if spawn.attempts < policy.spawn_tries:
        return Respawn(spawn.session_id)
    return GiveUp(spawn.session_id, "spawn_timeout", f"no agent came in {spawn.attempts} tries")


def _one_try(snapshot: PoolSnapshot, policy: PoolPolicy, room: int, given_up: int) -> list[Action]:
    """Spawns failed, and one is tried: for the pool, also if that lacks none, so that it costs no user's tries."""
    under_way = len(snapshot.spawning) - given_up
    return [SpawnWarm()] if room > 0 and under_way < policy.spawn_concurrency else []


def _queue(snapshot: PoolSnapshot, gone: set[str]) -> list[str]:
    """Users who wait, in the order in which they are served."""
    order = sorted(snapshot.waiting, key=lambda w: (w.since, w.session_id))
    return [w.session_id for w in order if w.session_id not in gone]


def _make_room(snapshot: PoolSnapshot, policy: PoolPolicy, lacking: int) -> list[Action]:
    """Users wait: the pool does not grow, and gives up as many agents as users lack capacity."""
    surplus = max(snapshot.ready - policy.target, min(lacking, snapshot.ready))
    return [Retire(surplus)] if surplus > 0 else []


def _towards_target(snapshot: PoolSnapshot, policy: PoolPolicy, room: int, used: int) -> list[Action]:
    """Grow as far as the limits let it, or retire what is too much."""
    if snapshot.ready > policy.target:
        return [Retire(snapshot.ready - policy.target)]
    under_way = len(snapshot.spawning) + used
    missing = policy.target - snapshot.ready - snapshot.warming
    slots = min(policy.spawn_concurrency - under_way, room)
    return [SpawnWarm()] * max(0, min(missing, slots))


@dataclass(frozen=True)
class Aging:
    """Sessions that have been in a state for longer than it may last, oldest first, read atomically."""

    unclaimed: tuple[str, ...]
    """Assigned, and nobody joined within the lease."""
    inactive: tuple[str, ...]
    """Active, and nothing happened for the inactivity limit."""
    old_warm: tuple[str, ...]
    """In the pool for longer than a waiting agent should be."""
    ready: int


@dataclass(frozen=True)
class EndSession:
    """End this session for a reason in words, if it is still in this state."""

    session_id: str
    state: SessionState
    reason: str


def reap(aging: Aging) -> list[EndSession]:
    """Which sessions to end. Old warm agents go half a pool at a time, so that it is never emptied at once."""
    old = aging.old_warm[: max(1, aging.ready // 2)]
    return [
        *(EndSession(session_id, SessionState.ASSIGNED, "nobody joined in time") for session_id in aging.unclaimed),
        *(EndSession(session_id, SessionState.ACTIVE, "inactive") for session_id in aging.inactive),
        *(EndSession(session_id, SessionState.READY, "recycled: it waited long enough") for session_id in old),
    ]


def estimated_wait_s(position: int, spawn_s: float, concurrency: int) -> float:
    """How long the caller in this place (from 1) will wait: whole rounds of ``concurrency`` spawns."""
    rounds = -(-position // concurrency)
    return rounds * spawn_s
