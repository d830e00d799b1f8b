"""Every price and assumption behind ``deploy.cost``, in one place.

Assumed list prices in US dollars, without tax, as known in 2025: check them before you rely on a figure.
"""

from __future__ import annotations

from dataclasses import dataclass, field

KNOWN_IN = "2025"
HOURS = 730.0
"""Of a month."""


@dataclass(frozen=True)
class Assumptions:
    """What was not measured."""

    average_share: float = 0.25
    """Calls at once on average over the month, as a share of the most at once. What is paid by use follows it."""
    waiting_share: float = 0.1
    """Agents that wait, as a share of the most calls at once."""
    waiting_least: int = 3
    programs_gib: float = 1.2
    """Host, zygote with its models, worker: once for each machine or task with agents."""
    core_cpus: float = 1.0
    """API, beat and Redis together."""
    core_gib: float = 2.0
    machine_share: float = 0.9
    """Of a Kubernetes node that pods are given; the rest is the system's."""
    kbit_per_s: float = 80.0
    """Sound of one call, both ways."""


@dataclass(frozen=True)
class Machine:
    """A virtual machine and its price for a month."""

    cpus: int
    memory_gib: int
    month: float


@dataclass(frozen=True)
class Prices:
    """Of a month where nothing else is said."""

    machines: tuple[Machine, ...] = (
        Machine(2, 8, 16), Machine(4, 16, 31), Machine(8, 32, 62),
        Machine(16, 64, 124), Machine(32, 128, 246), Machine(48, 192, 366),
    )  # fmt: skip
    """Dedicated processors at a European provider of virtual machines, traffic included."""

    railway_cpu: float = 20.0
    """A processor, by use."""
    railway_gib: float = 10.0
    railway_gb_out: float = 0.05
    railway_plan: float = 20.0
    """Pro, for one seat; it counts towards the use."""

    cluster: float = 73.0
    """The control plane."""
    node: Machine = field(default_factory=lambda: Machine(8, 32, 294))
    """On demand, general purpose."""
    cluster_balancers: float = 40.0
    """One for HTTP, one for LiveKit's UDP."""
    cluster_nodes_least: int = 3
    cluster_gb_out: float = 0.09
    """Sound that one's own LiveKit sends to users."""

    fargate_cpu_hour: float = 0.04048
    fargate_gib_hour: float = 0.004445
    aws_balancer: float = 22.0
    aws_nat: float = 32.85
    """One gateway; there are two."""
    aws_endpoint: float = 7.30
    """One interface endpoint in one zone; there are four in two."""
    aws_redis_node: float = 23.4
    """cache.t4g.small; there are two."""
    aws_logs_and_alarms: float = 15.0
    aws_gb: float = 0.135
    """Out through NAT and to the internet; sound that comes in costs a third of it, and is counted as if it did not."""

    livekit_plan: float = 50.0
    """LiveKit Cloud, for platforms that take no UDP from outside."""
    livekit_minutes: int = 150_000
    """Of one participant, that the plan has."""
    livekit_minute: float = 0.0005
    """Of one participant beyond them; a call has two."""
