"""What the services and the store hand each other: records, requests and outcomes, all of them immutable."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Literal

from pydantic_core import from_json

from contract.keys import DEFAULT_KIND
from contract.messages import Assignment
from contract.states import SessionState
from orchestrator.domain.breaker import Breaker, Phase
from orchestrator.domain.demand import Measured
from orchestrator.domain.limits import Counted, Quota


@dataclass(frozen=True)
class Session:
    """The record of one session. Times are Unix seconds by the store's clock."""

    session_id: str
    state: SessionState
    created_at: float
    kind: str = DEFAULT_KIND
    """Of its agent."""
    user_id: str | None = None
    user_name: str | None = None
    host: str | None = None
    agent_pid: int | None = None
    agent_ticks: int | None = None
    boot_id: str | None = None
    ready_at: float | None = None
    startup_s: float | None = None
    assigned_at: float | None = None
    active_at: float | None = None
    user_left_at: float | None = None
    ended_at: float | None = None
    end_reason: str | None = None
    error: str | None = None
    error_code: str | None = None
    prewarmed: bool = False
    fence: int = 0
    attempts: int = 0
    replacements: int = 0
    task_id: str | None = None
    token_at: float | None = None
    marks: Mapping[str, float] | None = None
    """What its user's page measured: by name, in milliseconds after the click."""
    queue_position: int | None = None
    """Among all who wait for an agent, from 1."""
    waiting_place: int | None = None
    """Among those of them who wait for capacity, from 1: None for one whose spawn is under way."""

    @property
    def agent(self) -> AgentIdentity | None:
        """Its agent; None while it has none."""
        if self.host is None or self.boot_id is None or self.agent_pid is None or self.agent_ticks is None:
            return None
        return AgentIdentity(self.host, self.boot_id, self.agent_pid, self.agent_ticks)


@dataclass(frozen=True)
class StartRequest:
    """A start, as the store needs it."""

    assignment: Mapping[str, object]
    """``Assignment``'s fields but the session's id and the fence, which the claim decides."""
    user_id: str
    user_name: str | None
    request_key: str
    """Digest under which the outcome is kept: the same key gives the same outcome."""
    body_digest: str
    keep_s: float
    """How long the outcome is kept."""
    counted: Sequence[Counted] = ()
    """The rates that it counts against."""
    owner: str = ""
    """Digest of who calls for whom: what ``most_sessions`` is counted by."""
    most_sessions: int = 0
    """How many sessions this user may have at once; 0 for any number."""
    kind: str = DEFAULT_KIND
    """Of the agent that is asked for."""


@dataclass(frozen=True)
class Claimed:
    """An agent was waiting; its host was told (the reply comes under ``reply_id``)."""

    session_id: str
    fence: int
    host: str
    assigned_at: float
    refill: bool
    """Whether this claim should trigger a refill: none is on its way."""
    quotas: Sequence[Quota] = ()
    """What is left of the request's rates; empty where it came again."""


@dataclass(frozen=True)
class Queued:
    """A session was made for the caller, whose agent has to be started."""

    session_id: str
    dispatched: bool
    """False while it waits for capacity."""
    position: int
    fresh: bool = True
    """False when it is an earlier request's outcome."""


@dataclass(frozen=True)
class Answered:
    """This request was answered before; ``answer`` is what it was told."""

    answer: str


@dataclass(frozen=True)
class NoneReady:
    """The pool is empty."""

    quotas: Sequence[Quota] = ()
    """As in ``Claimed``."""


@dataclass(frozen=True)
class AgentIdentity:
    """One agent process, named for ever."""

    host: str
    boot_id: str
    pid: int
    start_ticks: int

    @property
    def word(self) -> str:
        """As the store's scripts name it."""
        return f"{self.host} {self.boot_id} {self.pid} {self.start_ticks}"


@dataclass(frozen=True)
class RecordOutcome:
    """Whether the session is this agent's; ``assignment`` set means that a user waits for it."""

    accepted: bool
    assignment: Assignment | None = None
    replaces: bool = False
    """Whether the assignment was another agent's, which died."""


class Death(StrEnum):
    """What an agent's death came to."""

    REPLACED = "replaced"
    """Another agent is to be started for its session; told again, too, while that was not begun."""
    UNDER_WAY = "under way"
    """Another agent is being started."""
    FAILED = "failed"
    """Its session failed: nobody was in a call with it, or its agents died too often."""
    OVER = "over"
    """Its session was over before, or nobody knows it."""
    STARTING = "starting"
    """Its spawn has tries left."""
    FOREIGN = "foreign"
    """It was not its session's agent: another one is, or comes."""


@dataclass(frozen=True)
class ReplaceRule:
    """How agents are replaced."""

    most: int
    """Replacements in one session."""
    begin_s: float = 5.0
    """A replacement whose spawn was not begun in so many seconds is queued again."""


@dataclass(frozen=True)
class HostLoss:
    """What the loss of a host came to, as session ids."""

    replaced: Sequence[str]
    failed: Sequence[str]
    news: bool
    """False when it had been declared lost before."""


@dataclass(frozen=True)
class AgentRecord:
    """What a host knows about one of its agents; enough to write its session anew."""

    session_id: str
    identity: AgentIdentity
    state: SessionState
    created_at: float
    startup_s: float | None
    assignment: Assignment | None
    hearsay: bool = False
    """Its assignment is the agent's own word: it stands only where the store knows of none."""
    in_call: bool = False
    """A user waits in its room: it is no agent for the pool, even if the store has forgotten that session."""
    generation: str = ""
    """Which zygote of its host forked it."""
    kind: str = DEFAULT_KIND


def number_in(fields: Mapping[str, str], name: str) -> float | None:
    """A number in a hash; None where there is none, or what an operator wrote there is none."""
    try:
        number = float(fields.get(name) or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def whole_in(fields: Mapping[str, str], name: str) -> int | None:
    """A whole number in a hash; None as with ``number_in``."""
    try:
        return int(fields.get(name) or "")
    except ValueError:
        return None


@dataclass(frozen=True)
class HostReport:
    """A host's heartbeat."""

    host: str
    boot_id: str
    started_at: float
    agents: int
    warm: int
    capacity: int
    """Agents that it can have, those that it has included, as it measured."""
    memory_total_bytes: int
    memory_available_bytes: int
    agent_private_bytes: int
    """Mean private memory of its agents; 0 without agents."""
    zygote: str
    """``ready`` when those of all kinds are, else what is wrong: ``starting`` or ``failed: why``."""
    version: str
    load1: float
    """The machine's load average of one minute."""
    cpus: int
    """The machine's processors."""
    drained: bool = False
    """It drains, and has no agent left."""
    generation: str = ""
    """Which zygote of the default kind forks now: agents of another one are older."""
    rollout: str = ""
    """The last rollout for which it loaded the agent's code anew, or tried to."""
    rollout_error: str = ""
    """Why it could not."""
    capacity_limit: str = "MAX_BOTS"
    """What limits ``capacity``: ``memory``, ``processors`` or ``MAX_BOTS``."""
    capacity_reason: str = ""
    """The same with the figures, in words."""
    processors: float = 0.0
    """Those that it may use: the machine's, or its container's where these are fewer."""
    kinds: str = DEFAULT_KIND
    """The kinds of agents that it serves, separated by commas."""
    ready_kinds: str = ""
    """Those whose zygote is ready."""
    loading_kinds: str = ""
    """Those whose zygote is loading, where there are others that this would hold up: none is begun until it has."""
    zygotes: str = ""
    """Each kind and how its zygote is, as a JSON object."""
    generations: str = ""
    """As ``generation``, of each other kind: ``kind:generation``, separated by commas."""
    instance: str = ""
    """Which daemon it is of those that could have this id: the same for every one of one GREENROOM_HOME."""


@dataclass(frozen=True)
class HostView:
    """A host as the store knows it. ``alive`` means that its lease is fresh."""

    host: str
    alive: bool
    heartbeat_age_s: float
    draining: bool
    fields: Mapping[str, str]
    draining_since: float | None = None
    drained: bool = False
    """It drains and has no agent left: as it says itself, or while it is away, as the store knows."""

    @property
    def suspect_at(self) -> float | None:
        """Since when its silence is looked at; by the store's clock."""
        return number_in(self.fields, "suspectAt")

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of agents that it serves; one that does not say knows of no other than the default one."""
        return tuple(self.fields.get("kinds", DEFAULT_KIND).split(","))

    @property
    def ready_kinds(self) -> tuple[str, ...]:
        """Those of them of which it can start an agent."""
        if self.fields.get("zygote", "ready") == "ready":
            return self.kinds
        return tuple(kind for kind in self.fields.get("ready_kinds", "").split(",") if kind)

    @property
    def zygotes(self) -> Mapping[str, str]:
        """How the zygote of each kind is, in words."""
        with suppress(ValueError, AttributeError):
            said = from_json(self.fields.get("zygotes", ""))
            return {str(kind): str(status) for kind, status in said.items()}
        return {DEFAULT_KIND: self.fields.get("zygote", "")}

    @property
    def heard(self) -> str:
        """Its last heartbeat, as the store has it; it names this one look."""
        return self.fields.get("heartbeatAt", "0")


@dataclass(frozen=True)
class DrainOrder:
    """What a host hears with its heartbeat: to drain."""

    for_s: float
    """How long it has been draining."""
    by_stop: bool
    """It was for a stop of the host, and not an operator's."""


@dataclass(frozen=True)
class Heard:
    """What a heartbeat is answered."""

    was_lost: bool = False
    """The host had been declared lost: its agents may have been replaced."""
    was_unknown: bool = False
    """The store knew nothing of the host: it is new, or the store came back empty and knows none of its agents."""
    drain: DrainOrder | None = None


RolloutState = Literal["running", "done", "failed"]


@dataclass(frozen=True)
class RolloutRecord:
    """A rollout: the one that is under way, or the last one."""

    rollout_id: str
    state: RolloutState
    detail: str
    """What it waits for, or how it ended, in words."""
    recycled: int
    started_at: float
    ended_at: float | None


NO_MORE: Mapping[str, int] = MappingProxyType({})
"""No kinds of agents beside the default one."""


@dataclass(frozen=True)
class KindCounts:
    """The pool of one kind of agent."""

    ready: int
    warming: int
    floor: int
    """Its size as last set."""
    waiting: int
    """Sessions that wait for capacity."""
    measured: Measured
    """What its target follows beside its floor."""


@dataclass(frozen=True)
class Counts:
    """Sessions by state, and the totals since the store was made."""

    by_state: Mapping[SessionState, int]
    spawning: int
    waiting: int
    total_spawned: int
    total_assigned: int
    dead_claims: int
    last_refill_at: float | None
    now: float
    host_room: int | None
    """Agents that living hosts can still take, as they measured, spawns under way not taken off; None: none says."""
    kinds: Mapping[str, KindCounts]
    """The pools that were asked for, by kind; the default one's always."""

    @property
    def pool_ready(self) -> int:
        """Agents that wait."""
        return sum(kind.ready for kind in self.kinds.values())

    @property
    def warming(self) -> int:
        """Agents that are being started for the pools."""
        return sum(kind.warming for kind in self.kinds.values())

    @property
    def floor(self) -> int:
        """Agents that should wait at least."""
        return sum(kind.floor for kind in self.kinds.values())

    @property
    def agents(self) -> int:
        """Agents that are or are being started."""
        owned = sum(self.by_state[s] for s in (SessionState.READY, SessionState.ASSIGNED, SessionState.ACTIVE))
        # Not by the spawns under way: one for a session in a call keeps the place that this has.
        return owned + self.by_state[SessionState.STARTING] - self.waiting

    def room(self, most: int) -> int:
        """How many more agents there may be: by ``MAX_BOTS``, and by what the hosts measured."""
        room = most - self.agents
        if self.host_room is not None:
            room = min(room, self.host_room - self.spawning)
        return max(0, room)

    @property
    def calls(self) -> int:
        """Agents that belong to a user."""
        return self.by_state[SessionState.ASSIGNED] + self.by_state[SessionState.ACTIVE]

    @property
    def queued(self) -> int:
        """Users who wait for an agent: those whose own is being started, and those who wait for capacity."""
        return max(0, self.by_state[SessionState.STARTING] - self.warming)


@dataclass(frozen=True)
class BreakerView:
    """The spawn breaker as the store has it."""

    breaker: Breaker
    version: int
    now: float

    @property
    def phase(self) -> Phase:
        """What may be begun."""
        return self.breaker.phase(self.now)


SPAWN_BOUNDS_S = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0)
"""Upper bounds of the spawn histogram's buckets."""


@dataclass(frozen=True)
class SpawnStats:
    """Measured spawns."""

    recent_s: Sequence[float]
    buckets: Mapping[str, float]
    """Cumulative counts by upper bound, as Prometheus has it, with ``sum`` and ``count``."""
    failures: Mapping[str, int]
    replacements: Mapping[str, int] = field(default_factory=dict)
    """Agents that were replaced in a call, by reason's code."""


@dataclass(frozen=True)
class QueuedUser:
    """A user who waits for an agent. ``position`` is from 1."""

    session_id: str
    user_id: str | None
    position: int
    since: float


@dataclass(frozen=True)
class Sample:
    """The whole system at one moment. Where nothing was measured lately, there is None."""

    at: float
    ready: int
    target: int
    starting: int
    """Agents being started, for the pool and for users."""
    active: int
    waiting: int
    """Sessions that wait for capacity."""
    warm_hit_rate: float | None
    """Of the starts since the sample before."""
    start_p50_ms: float | None
    start_p95_ms: float | None
    spawn_p50_ms: float | None
    refill_lag_ms: float | None
    """From a claim until another warm agent stood in its place: the median of lately."""


@dataclass(frozen=True)
class Search:
    """Which sessions somebody looks for: by the beginning of an id, or of exactly this user, or of a kind of agent."""

    id_start: str | None
    user_id: str
    kind: str | None = None
    """Of these only those with such an agent; of all, where neither of the two above is given."""


@dataclass(frozen=True)
class Page:
    """A page of sessions, newest first."""

    sessions: Sequence[Session]
    cursor: str | None


@dataclass(frozen=True)
class Finished:
    """What ``finish`` did. ``changed`` is false when it was over before."""

    changed: bool
    previous: SessionState | None
    host: str | None = None


@dataclass(frozen=True)
class HostReply:
    """A host's answer to a command."""

    ok: bool
    reason: str | None = None
    data: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Limits:
    """The capacity that reservations are checked against."""

    max_agents: int
    max_queue: int
    spawn_concurrency: int
    spawn_deadline_s: float
    most_of: Mapping[str, int] = field(default_factory=dict)
    """Agents of one kind at most, for kinds that have such a limit."""

    def most(self, kind: str) -> int:
        """Agents of this kind at most."""
        return self.most_of.get(kind, self.max_agents)
