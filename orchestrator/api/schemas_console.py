"""What the console and the talk page are told beside the plain answers of ``schemas``."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from orchestrator.api.schemas import Answer, Capacity, HostAnswer, Part, PartHealth, PoolView, SessionCounts, Totals


class TurnText(Part):
    """A finished turn of either side. ``at`` is in Unix seconds."""

    role: Literal["user", "assistant"]
    text: str = Field(examples=["What time is it?"])
    at: float = Field(examples=[1763712045.2])
    interrupted: bool
    latency_ms: float | None = Field(
        description="From the end of the user's speech to the answer's first sound.", examples=[430.5]
    )


class TurnsAnswer(Answer):
    """The finished turns, oldest first. They are kept for an hour after the last."""

    session_id: str
    turns: list[TurnText]


class LifeEvent(Part):
    """Something that happened in a session's life, at Unix seconds."""

    name: Literal["created", "ready", "assigned", "token", "joined", "left", "ended", "failed"]
    at: float = Field(examples=[1763712042.5])


class LifeTurn(Part):
    """A finished turn, without what was said."""

    role: Literal["user", "assistant"]
    at: float
    latency_ms: float | None
    interrupted: bool
    characters: int


class Click(Part):
    """What the user's page measured, in milliseconds after the click."""

    marks: dict[str, float] = Field(examples=[{"click": 0, "answer": 12, "connected": 240, "firstSound": 710}])


class LifeAnswer(Answer):
    """One session's life: only what happened, in its order."""

    session_id: str
    events: list[LifeEvent]
    turns: list[LifeTurn]
    click: Click | None
    end_reason: str | None = Field(examples=["the user left"])
    error: str | None = Field(description="Why it failed: a stable code, a colon, and the reason in words.")


class PoolSample(Part):
    """The whole system at one moment. Null where nothing was measured lately."""

    at: float = Field(examples=[1763712045.1])
    ready: int = Field(examples=[3])
    target: int = Field(examples=[3])
    starting: int = Field(
        description="All agents being started, for the pool and for users; the pool's `starting` has only its own."
    )
    active: int
    waiting: int = Field(description="Sessions that wait for capacity.")
    warm_hit_rate: float | None = Field(
        description="Of the starts since the sample before: the share of warm ones.",
        examples=[1.0],
    )
    start_p50_ms: float | None = Field(description="Of the starts of the last minute.", examples=[4.8])
    start_p95_ms: float | None = Field(examples=[9.2])
    spawn_p50_ms: float | None = Field(description="Of the newest twenty spawns.", examples=[115.0])
    refill_lag_ms: float | None = Field(
        description="Of the last minute, the median: from a claim until another warm agent stood in its place.",
        examples=[290.5],
    )


class HistoryAnswer(Answer):
    """Samples, oldest first."""

    every_s: int = Field(examples=[5])
    samples: list[PoolSample]


class OverviewHealth(Part):
    """How everything is."""

    status: Literal["healthy", "degraded", "unhealthy"]
    reason: str | None
    parts: dict[str, PartHealth]


class QueuedSession(Part):
    """A user who waits for an agent."""

    session_id: str
    user_id: str | None
    position: int
    waiting_s: float


class OverviewEvent(Part):
    """The data of an ``overview`` event. What only Redis knows is null while it is away."""

    at: float
    health: OverviewHealth
    pool: PoolView | None
    sessions: SessionCounts | None
    capacity: Capacity | None
    stats: Totals | None
    hosts: list[HostAnswer] | None
    queue: list[QueuedSession] | None = Field(description="The first twenty; the pool's `queued` counts all.")
    version: str


class SessionsEvent(Part):
    """The data of a ``sessions`` event: which changed since the last one."""

    ids: list[str]
    more: bool = Field(description="There were more than are told here.")


class RolloutView(Part):
    """A rollout."""

    id: str
    state: Literal["running", "done", "failed"]
    detail: str = Field(description="What it waits for, or how it ended, in words.")
    recycled: int = Field(description="Agents that waited and were ended for newer ones.")
    started_at: float
    ended_at: float | None


class RolloutAnswer(Answer):
    """The rollout that is under way, or the last one."""

    rollout: RolloutView | None
    began: bool = Field(description="Whether this request began it.")
