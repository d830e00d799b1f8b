"""How many pods there are: what KEDA asks for exists, its query says what it should, and nothing else sets replicas."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from celery import Celery

from orchestrator.adapters import celery_queue as q
from orchestrator.adapters.redis_client import connect
from tests.deploy.manifests import documented_secrets, manifests
from tests.support.api import api_under_test
from tests.support.servers import RedisServer, missing

pytestmark = pytest.mark.timeout(400)
BUILT_FOR = "production"
SETS = ("default", "sales")


def scaled(kind: str) -> Any:
    return manifests(BUILT_FOR).named("ScaledObject", f"greenroom-host-{kind}")["spec"]


def trigger(kind: str, name: str) -> Any:
    return next(each for each in scaled(kind)["triggers"] if each["name"] == name)


@pytest.mark.parametrize("overlay", ["small", "production"])
def test_what_is_scaled_has_no_replicas_of_its_own(overlay: str) -> None:
    """Else each ``kubectl apply`` would undo the scaling."""
    built = manifests(overlay)
    targets = [each["spec"]["scaleTargetRef"] for each in built.of("ScaledObject", "HorizontalPodAutoscaler")]
    assert targets
    for target in targets:
        assert "replicas" not in built.named(target["kind"], target["name"])["spec"]
    names = {target["name"] for target in targets}
    for workload in built.workloads:
        assert workload["metadata"]["name"] in names or workload["spec"]["replicas"] >= 1


@pytest.mark.parametrize("kind", SETS)
def test_up_at_once_and_down_slowly(kind: str) -> None:
    behavior = scaled(kind)["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
    assert behavior["scaleUp"]["stabilizationWindowSeconds"] == 0
    assert behavior["scaleDown"]["stabilizationWindowSeconds"] == 300
    assert behavior["scaleDown"]["policies"] == [{"type": "Pods", "value": 1, "periodSeconds": 60}]
    assert scaled(kind)["minReplicaCount"] >= 1, "nobody would start the first agent"


async def test_the_queue_is_where_users_spawns_wait(redis_server: RedisServer) -> None:
    name = trigger("default", "spawns-waiting")["metadata"]["listName"]
    client = connect(redis_server.url)
    queue = Celery(broker=redis_server.url, set_as_current=False)
    queue.conf.task_queues = [q.shared_queue(q.SPAWN_QUEUE), q.shared_queue(q.REFILL_QUEUE)]
    try:
        await client.flushdb()
        await q.CeleryQueue(queue).spawn("session_1", urgent=True)
        await q.CeleryQueue(queue).spawn("prewarm_1", urgent=False)
        assert await client.llen(name) == 1
        assert q.SPAWN_TASK in await client.lindex(name, 0)
    finally:
        queue.close()
        await client.aclose()
    assert trigger("sales", "spawns-waiting")["metadata"]["listName"] == f"{name}.sales"


@pytest.mark.parametrize("kind", SETS)
def test_keda_is_let_into_redis_by_a_secret(kind: str) -> None:
    name = trigger(kind, "spawns-waiting")["authenticationRef"]["name"]
    refs = manifests(BUILT_FOR).named("TriggerAuthentication", name)["spec"]["secretTargetRef"]
    assert {each["parameter"] for each in refs} == {"address", "password"}
    assert all(each["key"] in documented_secrets()[each["name"]] for each in refs)


async def _exported() -> set[str]:
    """The names of the metrics that the API exports."""
    async with api_under_test() as api:
        await api.heartbeat()
        text = (await api.client.get("/metrics")).text
    return set(re.findall(r"^# TYPE (\w+)", text, re.MULTILINE))


@pytest.mark.parametrize("kind", SETS)
async def test_the_metrics_of_the_query_are_exported(kind: str) -> None:
    given = trigger(kind, "sessions-over-capacity")["metadata"]
    asked = set(re.findall(r"greenroom_\w+", given["query"]))
    assert len(asked) == 5
    assert asked <= await _exported()
    assert given["ignoreNullValues"] == "false", "a Prometheus that is away is not the same as no calls"


def test_what_is_scraped_is_the_api() -> None:
    built = manifests(BUILT_FOR)
    (monitor,) = built.of("ServiceMonitor")
    (service,) = [
        each
        for each in built.of("Service")
        if monitor["spec"]["selector"]["matchLabels"].items() <= each["metadata"]["labels"].items()
    ]
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == "/metrics"


def _series(host: str, *, agents: int, capacity: int, up: int = 1, draining: int = 0) -> list[dict[str, str]]:
    """What two APIs export of a host: both the same."""
    values = {"agents": agents, "capacity": capacity, "up": up, "draining": draining}
    return [
        {"series": f'greenroom_host_{name}{{host="{host}",pod="{api}"}}', "values": str(value)}
        for name, value in values.items()
        for api in ("api-a", "api-b")
    ]


def _waiting(count: int, kind: str = "default") -> list[dict[str, str]]:
    name = "greenroom_sessions_waiting"
    return [{"series": f'{name}{{kind="{kind}",pod="{api}"}}', "values": str(count)} for api in ("a", "b")]


def _hosts_wanted(series: list[dict[str, str]], folder: Path) -> float:
    """What the query answers, by Prometheus's own evaluation."""
    if shutil.which("promtool") is None:
        missing("promtool", "apt-get install prometheus")
    query = trigger("default", "sessions-over-capacity")["metadata"]["query"]
    # promtool tells an answer only where it is not the one that was expected.
    test = {"input_series": series, "promql_expr_test": [{"expr": query, "eval_time": "0m", "exp_samples": []}]}
    path = folder / "query.yml"
    path.write_text(yaml.safe_dump({"tests": [test]}))
    done = subprocess.run(["promtool", "test", "rules", path], capture_output=True, text=True, check=False)
    (got,) = re.findall(r"got: \{\} (\S+)", done.stdout + done.stderr)
    return float(got)


NAMES = [f"greenroom-host-default-{number}" for number in range(3)]


@pytest.mark.parametrize(
    ("series", "wanted"),
    [
        ([*_series(NAMES[0], agents=20, capacity=40), *_series(NAMES[1], agents=8, capacity=40), *_waiting(0)], 1.0),
        ([*_series(NAMES[0], agents=40, capacity=40), *_series(NAMES[1], agents=40, capacity=40), *_waiting(4)], 3.0),
        # What drains, and what is dead, is neither capacity nor asks for any.
        (
            [
                *_series(NAMES[0], agents=28, capacity=40),
                *_series(NAMES[1], agents=30, capacity=40, draining=1),
                *_series(NAMES[2], agents=30, capacity=40, up=0),
                *_waiting(0),
            ],
            1.0,
        ),
        # Another kind's hosts are not this one's.
        ([*_series(NAMES[0], agents=14, capacity=40), *_series("greenroom-host-sales-0", agents=40, capacity=40),
          *_waiting(0), *_waiting(9, "sales")], 0.5),
    ],
    ids=["two hosts", "full, and users wait", "one drains, one is dead", "two kinds"],
)  # fmt: skip
def test_the_query_is_how_many_hosts_are_wanted(series: Any, wanted: float, tmp_path: Path) -> None:
    assert _hosts_wanted(series, tmp_path) == pytest.approx(wanted)
