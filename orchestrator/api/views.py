"""The store's records as parts of answers."""

from __future__ import annotations

from collections.abc import Mapping

from contract.keys import DEFAULT_KIND
from contract.states import SessionState
from orchestrator.api.schemas import (
    AgentPool,
    Capacity,
    HostAnswer,
    PartHealth,
    PoolDemand,
    PoolView,
    SessionCounts,
    Totals,
)
from orchestrator.api.schemas_console import PoolSample, QueuedSession
from orchestrator.domain.demand import Aim, DemandPolicy, aim
from orchestrator.records import Counts, HostView, KindCounts, Limits, QueuedUser, Sample, number_in, whole_in
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


def pool_view(counts: Counts, limits: Limits, policy: DemandPolicy) -> PoolView:
    """The pools: their sums, and each."""
    aims = aims_of(counts, limits, policy)
    agents = [_agent_pool(kind, of_kind, aims[kind], limits) for kind, of_kind in counts.kinds.items()]
    several = len(agents) > 1
    return PoolView(
        target=sum(pool.target for pool in agents),
        floor=sum(pool.floor for pool in agents),
        demand=PoolDemand(
            starts_per_minute=round(sum(now.rate_per_s for now in aims.values()) * 60, 2),
            spawn_p95_s=aims[DEFAULT_KIND].spawn_p95_s,  # it is measured over all kinds
            expected=round(sum(now.expected for now in aims.values()), 3),
        ),
        reason="; ".join(f"{pool.agent}: {pool.reason}" if several else pool.reason for pool in agents),
        ready=counts.pool_ready,
        starting=counts.warming,
        converged=all(pool.converged for pool in agents),
        waiting=counts.waiting,
        queued=counts.queued,
        max=limits.max_agents,
        agents=agents,
    )


def aims_of(counts: Counts, limits: Limits, policy: DemandPolicy) -> dict[str, Aim]:
    """How many agents of each kind should wait, and why."""
    kinds = counts.kinds.items()
    return {name: aim(kind.floor, kind.measured, policy, limits.most_of.get(name)) for name, kind in kinds}


def _agent_pool(kind: str, counts: KindCounts, now: Aim, limits: Limits) -> AgentPool:
    return AgentPool(
        agent=kind,
        target=now.target,
        floor=now.floor,
        ready=counts.ready,
        starting=counts.warming,
        max=limits.most(kind),
        reason=now.reason,
        converged=counts.ready == now.target and counts.warming == 0,
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
        zygotes=dict(view.zygotes),
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
