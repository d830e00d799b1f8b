"""The store's records as parts of answers."""

from __future__ import annotations

from collections.abc import Mapping

from contract.states import SessionState
from orchestrator.api.schemas import Capacity, HostAnswer, PartHealth, PoolView, SessionCounts, Totals
from orchestrator.api.schemas_console import PoolSample, QueuedSession
from orchestrator.records import Counts, HostView, QueuedUser, Sample
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
    return Capacity(current=counts.agents, max=most, available=max(0, most - counts.agents))


def pool_view(counts: Counts, most: int) -> PoolView:
    """The pool."""
    return PoolView(
        target=counts.target,
        ready=counts.pool_ready,
        starting=counts.warming,
        converged=counts.pool_ready == counts.target and counts.warming == 0,
        waiting=counts.waiting,
        queued=counts.queued,
        max=most,
    )


def host_view(view: HostView) -> HostAnswer:
    """A host, by its last heartbeat."""

    def number(name: str) -> int:
        return int(view.fields.get(name) or 0)

    started_at, load, cpus = (view.fields.get(name) for name in ("started_at", "load1", "cpus"))
    return HostAnswer(
        host=view.host,
        alive=view.alive,
        draining=view.draining,
        draining_since=view.draining_since,
        drained=view.drained,
        heartbeat_age_s=view.heartbeat_age_s,
        started_at=float(started_at) if started_at else None,
        agents=number("agents"),
        warm=number("warm"),
        capacity=number("capacity"),
        load=float(load) if load else None,
        cpus=int(cpus) if cpus else None,
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
