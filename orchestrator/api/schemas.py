"""What callers are answered."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from contract.keys import DEFAULT_KIND

PublicStatus = Literal["starting", "ready", "active", "ended", "failed"]


class Answer(BaseModel):
    """What went well."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)

    success: Literal[True] = True


class Part(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)


class Join(Part):
    """All that a browser needs to join the room. Times are Unix seconds."""

    url: str = Field(examples=["wss://my-project.livekit.cloud"])
    token: str
    room: str
    identity: str = Field(examples=["user-user_123"])
    expires_at: int


class ReadyAnswer(Answer):
    """An agent was waiting and has acknowledged. ``join`` is there when ``userName`` was given."""

    session_id: str = Field(examples=["prewarm_9f2c51e0c4d24b0f8a3f6f0f6b1f2a77"])
    status: Literal["ready"] = "ready"
    message: str = Field(examples=["Assigned pre-warmed agent"])
    prewarmed: Literal[True] = True
    latency_ms: float = Field(examples=[3.1])
    latency: str = Field(examples=["3ms"])
    join: Join | None = None


class StartingAnswer(Answer):
    """An agent is being started."""

    session_id: str = Field(examples=["session_1763712000123_7d1e51e0c4d24b0f8a3f6f0f6b1f2a77"])
    status: Literal["starting"] = "starting"
    message: str = Field(examples=["Agent is being spawned. Poll /api/session/:id for status."])
    task_id: str
    prewarmed: Literal[False] = False
    queue_position: int = Field(examples=[1])
    estimated_wait: str | None = Field(
        description="Until its agent is there. Null while nobody can say: every agent is busy and no call has ended"
        " yet, or no host starts any.",
        examples=["0.4s"],
    )
    estimated_wait_ms: int | None = Field(description="The same.", examples=[400])
    latency_ms: float
    latency: str


class SessionRecord(Part):
    """A session. ``host`` and ``agentPid`` are shown to the admin only."""

    session_id: str
    status: PublicStatus
    agent: str = Field(DEFAULT_KIND, description="The kind of its agent.", examples=["default"])
    user_id: str | None
    prewarmed: bool
    created_at: float
    startup_time: float | None = Field(description="Seconds from the fork request until in the room.")
    assigned_at: float | None
    ended_at: float | None
    end_reason: str | None
    queue_position: int | None
    estimated_wait_ms: int | None = Field(
        None, description="While it starts: until its agent is there. Null while nobody can say.", examples=[400]
    )
    error: str | None = Field(description="Why it failed: a stable code, a colon, and the reason in words.")
    replacements: int = Field(0, description="Agents that died in this call and were replaced.")
    host: str | None = None
    agent_pid: int | None = None


class SessionAnswer(SessionRecord):
    """A session. ``host`` and ``agentPid`` are shown to the admin only."""

    success: Literal[True] = True


class SessionsAnswer(Answer):
    """A page of sessions: the living first, the newest first. ``cursor`` leads to the next page."""

    sessions: list[SessionRecord]
    cursor: str | None


class EndedAnswer(Answer):
    """The session is over. ``changed`` is false when it was before."""

    session_id: str
    status: Literal["ended", "failed"]
    changed: bool


class LogsAnswer(Answer):
    """The newest lines of the session's agent, oldest first."""

    session_id: str
    lines: list[dict[str, Any]]


class TokenAnswer(Answer):
    """A room token."""

    token: str
    url: str
    room: str
    identity: str
    expires_at: int


class PoolDemand(Part):
    """What the target follows beside its floor."""

    starts_per_minute: float = Field(description="Over the last minute.", examples=[8.0])
    spawn_p95_s: float | None = Field(description="Of the newest hundred spawns; null before the first.")
    expected: float = Field(description="Their product: agents that are on their way at any moment.", examples=[2.0])


class AgentPool(Part):
    """The pool of one kind of agent."""

    agent: str = Field(examples=["default"])
    target: int
    floor: int
    ready: int
    starting: int
    max: int = Field(description="Agents of this kind at most, waiting and talking together.")
    reason: str
    converged: bool


class PoolView(Part):
    """The pools of all kinds of agents together, and each by itself in ``agents``.

    A pool has converged when as many agents wait as should, and none is under way.
    """

    target: int = Field(description="Agents that should wait: the floor, and what the arrivals need beyond it.")
    floor: int = Field(description="As set by `POST /api/pool/resize`, or `PREWARM_POOL_SIZE`.")
    demand: PoolDemand
    reason: str = Field(
        description="Why the target is what it is.",
        examples=["floor 3 + 3 for 8.0 starts a minute, an agent taking 15 s"],
    )
    ready: int
    starting: int = Field(
        description="Agents being started for the pool. Those for users are in `queued`, both in a sample's `starting`."
    )
    converged: bool
    waiting: int = Field(description="Sessions that wait for capacity.")
    queued: int = Field(
        description="All users who wait for an agent: it is being started for them, or they wait for capacity."
    )
    max: int = Field(description="MAX_BOTS.")
    agents: list[AgentPool] = Field(description="Each kind of agent; the default one first.")


class PoolAnswer(PoolView):
    """The pools of all kinds of agents together, and each by itself in ``agents``.

    A pool has converged when as many agents wait as should, and none is under way.
    """

    success: Literal[True] = True


class ResizeAnswer(Answer):
    """The pool moves towards its new size; ``statusUrl`` says when it is there."""

    size: int
    previous: int
    agent: str = Field(DEFAULT_KIND, examples=["default"])
    converged: Literal[False] = False
    status_url: str = "/api/pool"


class HostAnswer(Part):
    """A host, by its last heartbeat."""

    host: str
    alive: bool
    draining: bool = Field(description="It takes no new session; its calls go on.")
    draining_since: float | None = None
    drained: bool = Field(False, description="It drains, and no agent is left.")
    heartbeat_age_s: float
    started_at: float | None
    agents: int
    warm: int
    capacity: int = Field(description="Agents that it can have, those that it has included, as it measured.")
    capacity_limit: Literal["memory", "processors", "MAX_BOTS"] | None = Field(
        None, description="What limits it; null from a host that does not say."
    )
    capacity_reason: str | None = Field(
        None,
        description="The same in words.",
        examples=["memory: 3120 MiB available, 512 MiB in reserve, 36 MiB for an agent in a call"],
    )
    load: float | None = Field(
        None, description="The machine's load average of one minute; null from a host that does not say."
    )
    cpus: int | None = Field(None, description="The machine's processors, to which its load compares.")
    memory_total_bytes: int
    memory_available_bytes: int
    agent_private_bytes: int
    zygote: str = Field(description="`ready` when those of all kinds of agents are, else what is wrong.")
    zygotes: dict[str, str] = Field(
        description="The same of each kind of agent that it serves.", examples=[{"default": "ready"}]
    )
    version: str


class OneHostAnswer(HostAnswer):
    """A host, by its last heartbeat."""

    success: Literal[True] = True


class HostsAnswer(Answer):
    """All hosts known."""

    hosts: list[HostAnswer]


class SessionCounts(Part):
    """Living sessions. ``ready`` counts every ready agent, the pool's included."""

    ready: int
    starting: int
    active: int
    pool: int
    total: int


class Totals(Part):
    """Since the store was made."""

    total_spawned: int
    total_assigned: int


class Capacity(Part):
    """Agents, those being started included. ``max`` is MAX_BOTS, or less where the hosts have no room for so many."""

    current: int
    max: int
    available: int


class PartHealth(Part):
    """One part."""

    ok: bool
    detail: str


class HealthAnswer(Part):
    """How everything is. The counts are null while Redis is away."""

    success: bool
    status: Literal["healthy", "degraded", "unhealthy"]
    reason: str | None
    parts: dict[str, PartHealth]
    sessions: SessionCounts | None
    stats: Totals | None
    capacity: Capacity | None


class ReadinessAnswer(Part):
    """Whether starts can be served."""

    success: bool
    status: Literal["ready", "not ready"]
    reason: str | None
    parts: dict[str, PartHealth]


class LivenessAnswer(Answer):
    """This process answers."""

    status: Literal["alive"] = "alive"


class FieldProblem(Part):
    """One field that is wrong."""

    field: str
    message: str


class Problem(Part):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    success: Literal[False] = False
    code: str = Field(description="Stable; programs go by it.")
    errors: list[FieldProblem] | None = None
