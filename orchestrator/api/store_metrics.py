"""What the store knows, as Prometheus families: read once for each scrape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from contract.states import SessionState
from orchestrator.api.state import timely
from orchestrator.api.views import aims_of
from orchestrator.api.voice_metrics import memory_families, queue_families, voice_families
from orchestrator.bootstrap import Container
from orchestrator.domain.breaker import Phase
from orchestrator.domain.demand import Aim
from orchestrator.domain.errors import GreenroomError
from orchestrator.domain.session import public_status
from orchestrator.domain.voice import Observations, QueueLag, StoreMemory
from orchestrator.records import SPAWN_BOUNDS_S, BreakerView, Counts, HostView, SpawnStats, number_in

BREAKER_STATES = {Phase.CLOSED: 0, Phase.HALF_OPEN: 1, Phase.OPEN: 2}

SPAWN_FAILURES = ("agent_died", "host_unavailable", "livekit_unavailable", "spawn_timeout", "zygote_unavailable")
REPLACEMENTS = ("agent_died", "agent_unresponsive", "host_lost")
"""Told as 0 before they happened: Prometheus takes the first value that it sees for no growth."""


@dataclass(frozen=True, eq=False)  # a registry keys its collectors by identity
class Scrape(Collector):
    """One look at the store; registered for one answer and then forgotten."""

    counts: Counts
    aims: Mapping[str, Aim]
    spawns: SpawnStats
    hosts: Sequence[HostView]
    breakers: Mapping[str, BreakerView]
    observations: Observations
    queues: Sequence[QueueLag]
    memory: StoreMemory | None
    most_agents: int

    def collect(self) -> Iterator[Metric]:
        """All families."""
        yield _gauge("greenroom_store_up", "Whether Redis answers.", 1)
        yield from _pool(self.counts, list(self.aims.values()))
        yield from _agents(self.counts, self.aims)
        yield _gauge("greenroom_agents", "Agents that are, and those on their way.", self.counts.agents)
        yield _gauge("greenroom_agents_max", "Agents that there may be (MAX_BOTS).", self.most_agents)
        yield _sessions(self.counts)
        yield from _spawns(self.spawns)
        yield _breaker(self.breakers)
        yield from _hosts(self.hosts)
        yield from voice_families(self.observations, self.counts.by_state[SessionState.ACTIVE])
        yield from queue_families(self.queues)
        yield from memory_families(self.memory)


class _Away(Collector):
    def collect(self) -> Iterator[Metric]:
        yield _gauge("greenroom_store_up", "Whether Redis answers.", 0)


async def store_text(container: Container) -> bytes:
    """The store's part of an answer to a scrape; only ``greenroom_store_up 0`` while it is away."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(await _look(container))
    return generate_latest(registry)


async def _look(container: Container) -> Collector:
    try:
        return await timely(_scrape(container))
    except GreenroomError:
        return _Away()


async def _scrape(container: Container) -> Scrape:
    store, kinds = container.store, container.settings.kinds
    counts = await store.counts(kinds.default_floor, kinds.floors)
    return Scrape(
        counts,
        aims_of(counts, container.limits, container.demand),
        await store.spawn_stats(),
        await container.hosts.hosts(),
        {kind: await container.breakers.look(kind) for kind in kinds.by_name},
        await container.measures.observations(),
        await container.queues.lags(),
        await container.measures.memory(),
        container.settings.max_bots,
    )


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)


def _counter(name: str, words: str, value: float) -> Metric:
    return CounterMetricFamily(name, words, value=value)


def _labelled(name: str, words: str, label: str, values: Iterable[tuple[str, float]]) -> Metric:
    family = GaugeMetricFamily(name, words, labels=[label])
    for key, value in values:
        family.add_metric([key], value)
    return family


def _pool(counts: Counts, aims: Sequence[Aim]) -> Iterator[Metric]:
    """Of all kinds together."""
    yield _gauge("greenroom_pool_target", "Agents that should wait.", sum(now.target for now in aims))
    yield _gauge("greenroom_pool_floor", "Agents that should wait at least, as set.", sum(now.floor for now in aims))
    yield _gauge("greenroom_pool_start_rate", "Starts a second, over a minute.", sum(now.rate_per_s for now in aims))
    words = "Starts a second times what a spawn takes (p95) and may wait: agents on their way."
    yield _gauge("greenroom_pool_demand", words, sum(now.expected for now in aims))
    yield _gauge("greenroom_pool_ready", "Agents that wait.", counts.pool_ready)
    yield _gauge("greenroom_pool_starting", "Agents being started for the pool.", counts.warming)
    yield _gauge("greenroom_spawns_under_way", "All agents being started.", counts.spawning)
    yield _counter("greenroom_spawned", "Agents that came to be ready.", counts.total_spawned)
    yield _counter("greenroom_assigned", "Agents that were handed out.", counts.total_assigned)
    yield _counter("greenroom_dead_claims", "Claims that hit a dead agent.", counts.dead_claims)
    if counts.last_refill_at is not None:
        lag_s = max(0.0, counts.now - counts.last_refill_at)
        yield _gauge("greenroom_refill_lag_seconds", "Since the last refill began.", lag_s)


def _agents(counts: Counts, aims: Mapping[str, Aim]) -> Iterator[Metric]:
    """Of each kind: as many as the file of kinds names."""
    targets = [(kind, float(now.target)) for kind, now in aims.items()]
    ready = [(kind, float(of_kind.ready)) for kind, of_kind in counts.kinds.items()]
    yield _labelled("greenroom_agent_pool_target", "Agents of a kind that should wait.", "kind", targets)
    yield _labelled("greenroom_agent_pool_ready", "Agents of a kind that wait.", "kind", ready)
    waiting = [(kind, float(of_kind.waiting)) for kind, of_kind in counts.kinds.items()]
    yield _labelled("greenroom_sessions_waiting", "Sessions that wait for capacity.", "kind", waiting)


def _sessions(counts: Counts) -> Metric:
    totals: dict[str, float] = {}
    for state in SessionState:
        status = public_status(state)
        totals[status] = totals.get(status, 0) + counts.by_state[state]
    return _labelled("greenroom_sessions", "Sessions by status.", "status", totals.items())


def _spawns(spawns: SpawnStats) -> Iterator[Metric]:
    kept = {str(bound): 0.0 for bound in SPAWN_BOUNDS_S} | dict(spawns.buckets)
    total, count = kept.pop("sum", 0.0), kept.pop("count", 0.0)
    buckets = [*((bound, kept[bound]) for bound in sorted(kept, key=float)), ("+Inf", count)]
    histogram = HistogramMetricFamily("greenroom_spawn_seconds", "From the fork request until in the room.")
    histogram.add_metric([], buckets, total)
    yield histogram
    failures = CounterMetricFamily("greenroom_spawn_failures", "Spawns that failed, by reason.", labels=["reason"])
    for reason, number in sorted((dict.fromkeys(SPAWN_FAILURES, 0) | dict(spawns.failures)).items()):
        failures.add_metric([reason], number)
    yield failures
    words = "Agents that died in a call and were replaced, by reason."
    replaced = CounterMetricFamily("greenroom_replacements", words, labels=["reason"])
    for reason, number in sorted((dict.fromkeys(REPLACEMENTS, 0) | dict(spawns.replacements)).items()):
        replaced.add_metric([reason], number)
    yield replaced


def _breaker(views: Mapping[str, BreakerView]) -> Metric:
    words = "Whether spawns are tried: 0 yes (closed), 1 one at a time (half-open), 2 no (open)."
    states = [(kind, float(BREAKER_STATES[view.phase])) for kind, view in views.items()]
    return _labelled("greenroom_spawn_breaker_state", words, "kind", states)


def _hosts(hosts: Sequence[HostView]) -> Iterator[Metric]:
    def of(field: str) -> list[tuple[str, float]]:
        return [(host.host, number_in(host.fields, field) or 0.0) for host in hosts]

    up = [(host.host, float(host.alive)) for host in hosts]
    draining = [(host.host, float(host.draining)) for host in hosts]
    age = [(host.host, host.heartbeat_age_s) for host in hosts]
    yield _labelled("greenroom_host_up", "Whether a host's lease is fresh.", "host", up)
    yield _labelled("greenroom_host_draining", "Whether a host drains.", "host", draining)
    yield _labelled("greenroom_host_heartbeat_age_seconds", "Since a host's last heartbeat.", "host", age)
    yield _labelled("greenroom_host_agents", "Agents of a host.", "host", of("agents"))
    words = "Agents that a host can have, as it measured, by what limits it."
    capacity = GaugeMetricFamily("greenroom_host_capacity", words, labels=["host", "limit"])
    for host in hosts:
        limit = host.fields.get("capacity_limit", "unknown")
        capacity.add_metric([host.host, limit], number_in(host.fields, "capacity") or 0.0)
    yield capacity
    words = "Mean private memory of a host's agents."
    yield _labelled("greenroom_agent_private_memory_bytes", words, "host", of("agent_private_bytes"))
