"""What platforms cost: the arithmetic by hand, and that the document says what the program says."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from deploy import cost
from deploy.cost import Cost, Measured, Model
from deploy.prices import Assumptions, Machine, Prices
from tests.deploy.manifests import manifests, pod

TOP = Path(__file__).parents[2]
MEASURED = Measured(waiting_mib=10, waiting_cpu=0.01, call_mib=40, call_cpu=0.2, livekit_cpu=0.04)
ASSUMED = Assumptions(average_share=0.5, waiting_share=0.1, waiting_least=2, programs_gib=1, core_cpus=1, core_gib=2)


@pytest.fixture
def model() -> Model:
    return Model(MEASURED, ASSUMED, processor_share=0.8)


def test_what_calls_need(model: Model) -> None:
    assert (model.waiting(10), model.waiting(50)) == (2, 5)
    assert model.agent_cpus(50) == pytest.approx((50 * 0.2 + 5 * 0.01) / 0.8)
    assert model.agent_gib(50, 5) == pytest.approx(1 + (50 * 40 + 5 * 10) / 1024)
    assert model.livekit_cpus(50) == pytest.approx(50 * 0.04 / 0.8)


@pytest.mark.parametrize(
    ("machine", "calls"),
    [(Machine(4, 8, 0), 16), (Machine(64, 3, 0), 38)],
    ids=["limited by processors", "limited by memory"],
)
def test_calls_of_a_machine(model: Model, machine: Machine, calls: int) -> None:
    assert model.calls_of(machine) == calls


def test_the_smallest_machine_that_fits(model: Model) -> None:
    """Ten calls: 2.525 processors for agents, 0.5 for LiveKit, one for the rest."""
    sizes = (Machine(4, 8, 30), Machine(5, 3, 35), Machine(5, 8, 40))
    small = replace(model, prices=Prices(machines=sizes))
    assert small.compose(10) == Cost(40, what="5 processors"), "the first has too few processors, the second no memory"
    assert small.compose(14) is None
    assert small.most_on_one_machine() == 13


def test_railway_is_paid_by_use(model: Model) -> None:
    """Of ten calls five on average, two agents that wait, half of the core's processor; 13 GB each way at 80 kbit/s."""
    free = replace(model, prices=Prices(railway_cpu=100, railway_gib=0, railway_gb_out=0, railway_plan=1))
    found = free.railway(10)
    assert found.machines == pytest.approx(100 * (5 * 0.2 + 2 * 0.01 + 1 * 0.5))
    traffic = replace(model, prices=Prices(railway_cpu=0, railway_gib=0, railway_gb_out=1, railway_plan=0))
    assert traffic.railway(10).machines == pytest.approx(5 * 730 * 3600 * 80 / 8 / 1e6 / 2)
    least = replace(model, prices=Prices(railway_cpu=0, railway_gib=0, railway_gb_out=0, railway_plan=20))
    assert least.railway(10).machines == 20


def test_livekit_cloud_is_paid_for_two_participants(model: Model) -> None:
    prices = Prices(livekit_plan=50, livekit_minutes=100_000, livekit_minute=0.001)
    cloud = replace(model, prices=prices)
    assert cloud.railway(10).livekit == pytest.approx(50 + (5 * 730 * 60 * 2 - 100_000) * 0.001)
    assert replace(model, prices=replace(prices, livekit_minutes=10**9)).aws(10).livekit == 50


def test_kubernetes_has_a_node_to_lose(model: Model) -> None:
    prices = Prices(cluster=70, cluster_balancers=30, node=Machine(8, 32, 200), cluster_gb_out=0)
    nodes = replace(model, prices=prices)
    assert nodes.kubernetes(1) == Cost(100 + 3 * 200, what="3 nodes with 2 host pods")
    cpus = 20 * 2 + 100 * 0.04 / 0.8 + 1
    assert 6 < cpus / 7.2 < 7, "three pods fit on a node, so that seven are needed"
    assert nodes.kubernetes(100) == Cost(100 + 8 * 200, what="8 nodes with 20 host pods")
    busy = replace(nodes, measured=replace(MEASURED, livekit_cpu=0.16))
    assert 8 < (20 * 2 + 100 * 0.16 / 0.8 + 1) / 7.2 < 9, "with a busy LiveKit it is the processors that count"
    assert busy.kubernetes(100) == Cost(100 + 10 * 200, what="10 nodes with 20 host pods")


def test_pods_as_keda_wants_them(model: Model) -> None:
    """A pod takes 8 and is to be 70 % full; agents that wait are among them."""
    assert model.calls_of(cost.HOST_POD) == 8
    assert model.pods(1) == 2
    assert 19 < (100 + 10) / (8 * 0.7) < 20 == model.pods(100)


def test_a_host_pod_is_as_it_is_shipped() -> None:
    built = manifests("production")
    (container,) = pod(built.named("StatefulSet", "greenroom-host-default"))["containers"]
    for sizes in container["resources"].values():
        assert sizes == {"cpu": str(cost.HOST_POD.cpus), "memory": f"{cost.HOST_POD.memory_gib}Gi"}
    scaled = built.named("ScaledObject", "greenroom-host-default")["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (cost.PODS_LEAST, cost.PODS_MOST)
    (query,) = [each["metadata"]["query"] for each in scaled["triggers"] if "query" in each["metadata"]]
    assert re.findall(r"([\d.]+) \* avg", query) == [str(cost.POD_SHARE)]


def test_fargate_follows_the_average(model: Model) -> None:
    """Of 200 calls 100 on average; a task takes 16 and is to be 60 % busy."""
    prices = Prices(
        fargate_cpu_hour=1, fargate_gib_hour=0, aws_balancer=0, aws_nat=0, aws_endpoint=0, aws_redis_node=0,
        aws_logs_and_alarms=0, aws_gb=0,
    )  # fmt: skip
    fargate = replace(model, prices=prices)
    core = 2 * 0.5 + 2 * 0.25
    assert fargate.aws(200).machines == pytest.approx(730 * (core + 11 * 4))
    assert fargate.aws(1).machines == pytest.approx(730 * (core + 2 * 4)), "two at least"


def test_what_is_to_be_raised_is_told(model: Model) -> None:
    text = cost.render(model, sizes=(10, 100))
    assert "at most 20 host pods of one kind (`maxReplicaCount`), so 160 agents" in text
    assert "8 voice tasks (`voiceTasksMost`), so 128," in text
    assert "100 calls at once of one kind want `maxReplicaCount` at 20 and `MAX_BOTS` at 160 at least" in text
    assert "or `voiceTasksMost` at 11 and `maxBots` at 176." in text


def test_when_one_is_dearer_than_another(model: Model) -> None:
    def by_call(calls: int) -> Cost:
        return Cost(10 * calls)

    assert model.dearer_from(by_call, lambda _: Cost(95)) == 10
    assert model.dearer_from(lambda _: Cost(1), by_call) is None


def test_the_figures_are_the_benchmarks() -> None:
    found = Measured.read()
    raw = json.loads((cost.RESULTS / "call_cost.json").read_text())["raw"]
    mean = sum(raw["cpu_percent_of_core"]) / len(raw["cpu_percent_of_core"]) / 100
    assert found.call_cpu == pytest.approx(mean, rel=0.01)
    assert 0 < found.waiting_cpu < found.call_cpu < 1
    assert 0 < found.waiting_mib < found.call_mib


def test_the_document_says_what_the_program_says() -> None:
    table = cost.render(Model(Measured.read()))
    document = (TOP / "docs" / "deploy" / "costs.md").read_text()
    assert table in document, "python -m deploy.cost prints what belongs there"


def test_a_document_has_every_platform_and_every_figure(model: Model) -> None:
    text = cost.render(replace(model, prices=Prices(machines=(Machine(8, 32, 60),))), sizes=(10, 500))
    assert "| Compose on one virtual machine | $60 (8 processors) | more than one machine |" in text
    assert all(f"| {name}" in text for name in ("Railway", "Kubernetes", "AWS Fargate"))
    assert "| `call_cpu` | measured | 0.2 |" in text
    assert "| `machines` | price | $60 for 8 processors, 32 GiB |" in text
