"""The store's records as parts of answers."""

from __future__ import annotations

from collections.abc import Mapping

from contract.states import SessionState
from orchestrator.api.schemas import Capacity, HostAnswer, PartHealth, PoolDemand, PoolView, SessionCounts, Totals
from orchestrator.api.schemas_console import PoolSample, QueuedSession
from orchestrator.domain.demand import DemandPolicy, aim
from orchestrator.records import Counts, HostView, QueuedUser, Sample, number_in, whole_in
from orchestrator.services.health import Part as HealthPart


def parts_view(parts: Mapping[str, HealthPart]) -> dict[str, PartHealth]:
    """The parts' health."""
    return {name: PartHealth(ok=part.ok, detail=part.detail) for name, part in parts.items()}


def sessions_view(counts: Counts) -> SessionCounts:
    """Living sessions."""
    of = counts.by_state
    starting, active = of[SessionState.STARTING], of[SessionState.ACTIVE]
    ready = of[SessionState.READY] + of[SessionState.ASSIGNED]
    return SessionCounts(
        ready=ready, starting=starting, active=active, pool=counts.pool_ready, total=ready + starting + active
    )


def totals_view(counts: Counts) -> Totals:
    """Since the store was made."""
    return Totals(total_spawned=counts.total_spawned, total_assigned=counts.total_assigned)


def capacity_view(counts: Counts, most: int) -> Capacity:
    """Agents, and how many more there may be."""
    available = counts.room(most)
    return Capacity(current=counts.agents, max=min(most, counts.agents + available), available=available)


def pool_view(counts: Counts, most: int, policy: DemandPolicy) -> PoolView:
    """The pool."""
    now = aim(counts.floor, counts.measured, policy)
    return PoolView(
        target=now.target,
        floor=now.floor,
        demand=PoolDemand(
            starts_per_minute=round(now.rate_per_s * 60, 2),
            spawn_p95_s=now.spawn_p95_s,
            expected=round(now.expected, 3),
        ),
        reason=now.reason,
        ready=counts.pool_ready,
        starting=counts.warming,
        converged=counts.pool_ready == now.target and counts.warming == 0,
        waiting=counts.waiting,
        queued=counts.queued,
        max=most,
    )


def host_view(view: HostView) -> HostAnswer:
    """A host, by its last heartbeat."""

    def number(name: str) -> int:
        return whole_in(view.fields, name) or 0

    return HostAnswer(
        host=view.host,
        alive=view.alive,
        draining=view.draining,
        draining_since=view.draining_since,
        drained=view.drained,
        heartbeat_age_s=view.heartbeat_age_s,
        started_at=number_in(view.fields, "started_at"),
        agents=number("agents"),
        warm=number("warm"),
        capacity=number("capacity"),
        capacity_limit=view.fields.get("capacity_limit") or None,
        capacity_reason=view.fields.get("capacity_reason") or None,
        load=number_in(view.fields, "load1"),
        cpus=whole_in(view.fields, "cpus"),
        memory_total_bytes=number("memory_total_bytes"),
        memory_available_bytes=number("memory_available_bytes"),
        agent_private_bytes=number("agent_private_bytes"),
        zygote=view.fields.get("zygote", ""),
        version=view.fields.get("version", ""),
    )


def queued_view(user: QueuedUser, now: float) -> QueuedSession:
    """A user who waits; ``now`` by the store's clock."""
    return QueuedSession(
        session_id=user.session_id,
        user_id=user.user_id,
        position=user.position,
        waiting_s=round(max(0.0, now - user.since), 3),
    )


def sample_view(sample: Sample) -> PoolSample:
    """A sample."""
    return PoolSample(**vars(sample))
