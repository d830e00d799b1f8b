"""``python -m deploy.cost``: what each platform costs in a month, as Markdown.

From what the benchmarks measured (``benchmarks/results``) and the prices and assumptions of ``deploy.prices``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

from deploy.aws.config import Config
from deploy.prices import HOURS, KNOWN_IN, Assumptions, Machine, Prices
from orchestrator.domain.capacity import CapacityPolicy
from orchestrator.settings import Settings

RESULTS = Path(__file__).parents[1] / "benchmarks" / "results"
CALLS = (10, 50, 200)
AVERAGES = (0.25, 0.5, 0.75)
"""For which it is said when to move; the prices are for ``Assumptions.average_share``."""
PARTICIPANTS = 2
VOICE_TASK = Machine(Config.voice_cpus, Config.voice_memory_gib, 0)
"""Its price is Fargate's."""
BUSY_SHARE = Config.busy_percent / 100
HOST_POD = Machine(2, 4, 0)
"""What one asks for in ``deploy/kubernetes/host``. Its price is its node's."""
POD_SHARE = 0.7
"""Of what a pod can have, that KEDA steers to in ``overlays/production/scaling.yaml``, as the next two."""
PODS_LEAST = 2
PODS_MOST = 20
"""Of one kind of agents."""
RESERVE_GIB = Settings.model_fields["memory_reserve_mb"].default / 1024
MOST_CALLS = 2000
"""How far thresholds are looked for."""


@dataclass(frozen=True)
class Measured:
    """Of one agent and one call: MiB, and shares of a processor."""

    waiting_mib: float
    waiting_cpu: float
    call_mib: float
    call_cpu: float
    livekit_cpu: float

    @classmethod
    def read(cls, folder: Path = RESULTS) -> Measured:
        """From the benchmarks' files.

        Raises:
            KeyError: a file lacks a figure.
        """
        waiting, call = _figures(folder / "spawn_rate.json"), _figures(folder / "call_cost.json")
        return cls(
            waiting_mib=waiting["private memory of a waiting agent, p50"],
            waiting_cpu=waiting["processor of a waiting agent, mean"] / 100,
            call_mib=call["private memory of an agent that has talked, p50"],
            call_cpu=call["processor of an agent in a call, mean"] / 100,
            livekit_cpu=call["processor of LiveKit for one call, mean"] / 100,
        )


def _figures(path: Path) -> dict[str, float]:
    return {row["what"]: row["value"] for row in json.loads(path.read_text())["figures"]}


@dataclass(frozen=True)
class Cost:
    """Of a month: machines and their surroundings, and LiveKit where it is bought."""

    machines: float
    livekit: float = 0.0
    what: str = ""
    """The machines in words."""

    @property
    def total(self) -> float:
        """Both."""
        return self.machines + self.livekit


@dataclass(frozen=True)
class Model:
    """The arithmetic. Every platform's method takes the most calls at once."""

    measured: Measured
    assumed: Assumptions = field(default_factory=Assumptions)
    prices: Prices = field(default_factory=Prices)
    processor_share: float = CapacityPolicy.processor_share

    # --- what calls need -------------------------------------------------------------------------------

    def waiting(self, calls: int) -> int:
        """Agents that wait."""
        return max(self.assumed.waiting_least, math.ceil(calls * self.assumed.waiting_share))

    def used_cpus(self, calls: float, waiting: int) -> float:
        """Processors that agents use."""
        return calls * self.measured.call_cpu + waiting * self.measured.waiting_cpu

    def agent_cpus(self, calls: int) -> float:
        """Processors that agents are to have: a host fills no more than a share of its own."""
        return self.used_cpus(calls, self.waiting(calls)) / self.processor_share

    def agent_gib(self, calls: float, waiting: int) -> float:
        """Memory of agents and the programs around them on one machine."""
        m = self.measured
        return self.assumed.programs_gib + (calls * m.call_mib + waiting * m.waiting_mib) / 1024

    def livekit_cpus(self, calls: int) -> float:
        """Processors of a LiveKit of one's own."""
        return calls * self.measured.livekit_cpu / self.processor_share

    def calls_of(self, machine: Machine) -> int:
        """Calls that one machine with nothing but a host takes."""
        by_cpu = machine.cpus * self.processor_share / self.measured.call_cpu
        by_memory = (machine.memory_gib - self.assumed.programs_gib - RESERVE_GIB) * 1024 / self.measured.call_mib
        return int(min(by_cpu, by_memory))

    def _average(self, calls: int) -> float:
        return calls * self.assumed.average_share

    def _gb(self, calls: int) -> float:
        """Sound of a month."""
        return self._average(calls) * HOURS * 3600 * self.assumed.kbit_per_s / 8 / 1e6

    def _livekit(self, calls: int) -> float:
        p = self.prices
        minutes = self._average(calls) * HOURS * 60 * PARTICIPANTS
        return p.livekit_plan + max(0.0, minutes - p.livekit_minutes) * p.livekit_minute

    # --- platforms -------------------------------------------------------------------------------------

    def compose(self, calls: int) -> Cost | None:
        """One virtual machine with all of it, LiveKit too; None when the largest is too small."""
        cpus = self.agent_cpus(calls) + self.livekit_cpus(calls) + self.assumed.core_cpus
        gib = self.agent_gib(calls, self.waiting(calls)) + self.assumed.core_gib + RESERVE_GIB
        for machine in self.prices.machines:
            if machine.cpus >= cpus and machine.memory_gib >= gib:
                return Cost(machine.month, what=f"{machine.cpus} processors")
        return None

    def railway(self, calls: int) -> Cost:
        """Paid by use: the average counts."""
        a, p = self.assumed, self.prices
        average, waiting = self._average(calls), self.waiting(calls)
        cpus = self.used_cpus(average, waiting) + a.core_cpus * a.average_share
        gib = self.agent_gib(average, waiting) + a.core_gib
        use = cpus * p.railway_cpu + gib * p.railway_gib + self._gb(calls) / 2 * p.railway_gb_out
        return Cost(max(use, p.railway_plan), self._livekit(calls), f"{cpus:.1f} processors on average")

    def kubernetes(self, calls: int) -> Cost:
        """Nodes for the most calls and one that may be lost, and LiveKit on them."""
        p, pods = self.prices, self.pods(calls)
        nodes = max(p.cluster_nodes_least, self._nodes(calls, pods) + 1)
        sound = self._gb(calls) / 2 * p.cluster_gb_out
        what = f"{nodes} nodes with {pods} host pods"
        return Cost(p.cluster + p.cluster_balancers + nodes * p.node.month + sound, what=what)

    def pods(self, calls: int) -> int:
        """Hosts in Kubernetes that KEDA wants: it counts agents that wait like those in calls."""
        wanted = (calls + self.waiting(calls)) / (self.calls_of(HOST_POD) * POD_SHARE)
        return max(PODS_LEAST, math.ceil(wanted))

    def _nodes(self, calls: int, pods: int) -> int:
        """By processors, and by pods: what is left of a node and is less than a pod takes no host."""
        each = self.prices.node.cpus * self.assumed.machine_share
        cpus = pods * HOST_POD.cpus + self.livekit_cpus(calls) + self.assumed.core_cpus
        return max(math.ceil(cpus / each), math.ceil(pods / (each // HOST_POD.cpus)))

    def aws(self, calls: int) -> Cost:
        """Voice tasks as the average needs them, and what stands whether there are calls or not."""
        p, tasks = self.prices, self.tasks(self._average(calls))
        core = 2 * self._fargate(0.5, 1) + 2 * self._fargate(0.25, 0.5)
        around = p.aws_balancer + 2 * p.aws_nat + 8 * p.aws_endpoint + 2 * p.aws_redis_node + p.aws_logs_and_alarms
        voice = tasks * self._fargate(VOICE_TASK.cpus, VOICE_TASK.memory_gib)
        sound = self._gb(calls) / 2 * p.aws_gb
        return Cost(core + around + voice + sound, self._livekit(calls), f"{tasks} voice tasks on average")

    def tasks(self, calls: float) -> int:
        """Voice tasks that so many calls are steered to."""
        return max(Config.voice_tasks_least, math.ceil(calls / (self.calls_of(VOICE_TASK) * BUSY_SHARE)))

    def _fargate(self, cpus: float, gib: float) -> float:
        return HOURS * (cpus * self.prices.fargate_cpu_hour + gib * self.prices.fargate_gib_hour)

    # --- when to move ----------------------------------------------------------------------------------

    def most_on_one_machine(self) -> int:
        """Calls that the largest virtual machine takes."""
        return next((calls - 1 for calls in range(1, MOST_CALLS) if self.compose(calls) is None), MOST_CALLS)

    def dearer_from(self, one: Callable[[int], Cost], other: Callable[[int], Cost]) -> int | None:
        """Calls from which on one platform costs more than the other, for good; None: not within ``MOST_CALLS``."""
        dearer = None
        for calls in range(MOST_CALLS, 0, -1):
            if one(calls).total <= other(calls).total:
                break
            dearer = calls
        return dearer


def render(model: Model, sizes: Sequence[int] = CALLS) -> str:
    """The tables of ``docs/deploy/costs.md``."""
    head = ["platform", *(f"{calls} calls at once" for calls in sizes)]
    rows = [
        ["Compose on one virtual machine", *(_cell(model.compose(calls)) for calls in sizes)],
        ["Railway", *(_cell(model.railway(calls)) for calls in sizes)],
        ["Kubernetes, managed", *(_cell(model.kubernetes(calls)) for calls in sizes)],
        ["AWS Fargate", *(_cell(model.aws(calls)) for calls in sizes)],
    ]
    parts = [_table(head, rows), _facts(model), _limits(model, sizes[-1])]
    parts += [_thresholds(model), _needs(model, sizes), _basis(model)]
    return "\n\n".join(parts) + "\n"


def _basis(model: Model) -> str:
    """Every figure that went in, under the name that it has in the code."""
    rows = [
        [f"`{each.name}`", origin, _figure(getattr(given, each.name))]
        for origin, given in (("measured", model.measured), ("assumed", model.assumed), ("price", model.prices))
        for each in fields(given)
    ]
    return _table(["figure", "is", "value"], rows)


def _figure(value: object) -> str:
    match value:
        case Machine():
            return f"${value.month:g} for {value.cpus} processors, {value.memory_gib} GiB"
        case tuple():
            return "; ".join(_figure(each) for each in value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _needs(model: Model, sizes: Sequence[int]) -> str:
    rows = [
        ["processors for agents", *(f"{model.agent_cpus(calls):.1f}" for calls in sizes)],
        ["processors for a LiveKit of one's own", *(f"{model.livekit_cpus(calls):.1f}" for calls in sizes)],
        ["memory of agents and their host, GiB", *(f"{model.agent_gib(c, model.waiting(c)):.1f}" for c in sizes)],
        ["agents that wait", *(str(model.waiting(calls)) for calls in sizes)],
    ]
    return _table(["needed", *(f"{calls} calls at once" for calls in sizes)], rows)


def _facts(model: Model) -> str:
    return (
        f"One virtual machine takes {model.most_on_one_machine()} calls at once; a voice task on Fargate "
        f"({VOICE_TASK.cpus} processors) takes {model.calls_of(VOICE_TASK)}, a host's pod in Kubernetes "
        f"({HOST_POD.cpus} processors) {model.calls_of(HOST_POD)}. Prices are assumed list prices as known "
        f"in {KNOWN_IN}: check them before you rely on a figure."
    )


def _limits(model: Model, calls: int) -> str:
    """What has to be raised for the most calls of the table."""
    of_pod, of_task = model.calls_of(HOST_POD), model.calls_of(VOICE_TASK)
    pods, tasks = model.pods(calls), model.tasks(calls)
    most = Config.voice_tasks_most
    return (
        f"As shipped there are at most {PODS_MOST} host pods of one kind (`maxReplicaCount`), so {PODS_MOST * of_pod} "
        f"agents, and {most} voice tasks (`voiceTasksMost`), so {most * of_task}, those that wait among them. {calls} "
        f"calls at once of one kind want `maxReplicaCount` at {pods} and `MAX_BOTS` at {pods * of_pod} at least, or "
        f"`voiceTasksMost` at {tasks} and `maxBots` at {tasks * of_task}."
    )


def _thresholds(model: Model) -> str:
    """What is paid by use becomes dearer than nodes the sooner, the more of the calls are there all day."""
    rows = []
    for share in AVERAGES:
        busy = replace(model, assumed=replace(model.assumed, average_share=share))
        railway, aws = busy.dearer_from(busy.railway, busy.kubernetes), busy.dearer_from(busy.aws, busy.kubernetes)
        rows.append([f"{share:.0%} of the most at once", _from(railway), _from(aws)])
    return _table(["on average", "Railway costs more than Kubernetes", "AWS Fargate costs more than Kubernetes"], rows)


def _from(calls: int | None) -> str:
    return f"not up to {MOST_CALLS:,} calls at once" if calls is None else f"from {calls} calls at once on"


def _cell(cost: Cost | None) -> str:
    if cost is None:
        return "more than one machine"
    livekit = f" + ${cost.livekit:,.0f} LiveKit Cloud" if cost.livekit else ""
    return f"${cost.machines:,.0f}{livekit} ({cost.what})"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Print the tables."""
    print(render(Model(Measured.read())), end="")  # noqa: T201 - what it is for


if __name__ == "__main__":
    main()
