"""Who reaches what in Kubernetes: the Ingress, the Services and the NetworkPolicies of deploy/kubernetes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import kubernetes_validate
import pytest

from tests.deploy.manifests import (
    COMPONENTS,
    FOLDER,
    NAME,
    OVERLAYS,
    Manifests,
    labels,
    manifests,
    pod,
    selects,
    with_component,
)
from tests.deploy.routes import is_page, routes
from tests.support.stack import TOP

pytestmark = pytest.mark.timeout(400)


@pytest.fixture(params=OVERLAYS)
def built(request: pytest.FixtureRequest) -> Manifests:
    return manifests(request.param)


def test_users_reach_the_pages_and_the_api_alone(built: Manifests) -> None:
    (ingress,) = built.of("Ingress")
    paths = [path for rule in ingress["spec"]["rules"] for path in rule["http"]["paths"]]
    services = {(p["backend"]["service"]["name"], p["backend"]["service"]["port"]["name"]) for p in paths}
    assert services == {("greenroom-api", "http")}
    prefixes = [path["path"] for path in paths if path["pathType"] == "Prefix"]
    exact = [path["path"] for path in paths if path["pathType"] == "Exact"]
    assert len(prefixes) + len(exact) == len(paths)
    reached = {route for route in routes() if route in exact or any(route.startswith(f"{p}/") for p in prefixes)}
    assert {"/api/session/start", "/api/livekit/webhook", "/api/health"} <= reached
    assert not {route for route in reached if not route.startswith("/api/")}, "nothing of the inside"
    assert all(is_page(path) for path in exact)
    assert prefixes == ["/api", "/assets"]


def test_services_lead_to_ports_of_pods(built: Manifests) -> None:
    for service in built.of("Service"):
        chosen = [each for each in built.workloads if service["spec"]["selector"].items() <= labels(each).items()]
        (workload,) = chosen
        ports = chain.from_iterable(each.get("ports", []) for each in pod(workload)["containers"])
        assert {each["targetPort"] for each in service["spec"].get("ports", [])} <= {each["name"] for each in ports}


def _policies(built: Manifests, workload: Any, direction: str) -> Iterator[Any]:
    for policy in built.of("NetworkPolicy"):
        if direction in policy["spec"]["policyTypes"] and selects(policy["spec"]["podSelector"], labels(workload)):
            yield from policy["spec"].get(direction.lower(), [])


def _ports(rules: Iterator[Any]) -> set[Any]:
    return {port["port"] for rule in rules for port in rule["ports"]}


def test_everything_is_denied_but_what_is_needed(built: Manifests) -> None:
    deny = built.named("NetworkPolicy", "default-deny")["spec"]
    assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    out = {labels(each)[NAME]: _ports(_policies(built, each, "Egress")) - {53, "redis"} for each in built.workloads}
    redis = set() if "greenroom-redis" in out else {6379}
    assert out.pop("greenroom-redis", set()) == set()
    assert out == {
        "greenroom-api": {443} | redis,
        "greenroom-beat": redis,
        "greenroom-host": {443, 7881, 3478, 50000} | redis,
    }
    into = {labels(each)[NAME]: _ports(_policies(built, each, "Ingress")) for each in built.workloads}
    assert into.pop("greenroom-redis", {"redis"}) == {"redis"}
    assert into == {"greenroom-api": {"http"}, "greenroom-beat": set(), "greenroom-host": set()}


def test_every_policy_is_about_a_pod(built: Manifests) -> None:
    for policy in built.of("NetworkPolicy"):
        assert any(selects(policy["spec"]["podSelector"], labels(each)) for each in built.workloads)


# --- components -----------------------------------------------------------------------------------------


def _added(overlay: str, component: str, folder: Path) -> dict[str, list[Any]]:
    """What each of our workloads may reach with a component, and not without it."""
    plain, more = manifests(overlay), with_component(overlay, component, folder)
    assert len(more.workloads) == len(plain.workloads)
    added = {}
    for each in more.workloads:
        before = list(_policies(plain, each, "Egress"))
        added[labels(each)[NAME]] = [rule for rule in _policies(more, each, "Egress") if rule not in before]
    return added


def _by_label(rules: list[Any]) -> set[tuple[str, Any]]:
    """The ports that a label of a namespace opens."""
    return {
        (f"{name}={value}", port.get("endPort", port["port"]))
        for rule in rules
        for peer in rule["to"]
        for name, value in peer.get("namespaceSelector", {}).get("matchLabels", {}).items()
        for port in rule["ports"]
    }


def _blocks(rules: list[Any]) -> set[str]:
    return {peer["ipBlock"]["cidr"] for rule in rules for peer in rule["to"] if "ipBlock" in peer}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_livekit_in_the_cluster_is_reached(overlay: str, tmp_path: Path) -> None:
    added = _added(overlay, "livekit-in-cluster", tmp_path)
    label = "greenroom/serves=livekit"
    assert _by_label(added["greenroom-api"]) == {(label, 7880)}
    assert _by_label(added["greenroom-host"]) == {(label, 7880), (label, 7881), (label, 60000)}
    assert added["greenroom-beat"] == []
    # Its chart's pods have their nodes' addresses, which no label finds.
    assert _blocks(added["greenroom-api"]) == _blocks(added["greenroom-host"]) == {"10.0.0.0/8"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_traces_reach_a_collector_in_the_cluster(overlay: str, tmp_path: Path) -> None:
    added = _added(overlay, "traces", tmp_path)
    assert _by_label(added["greenroom-api"]) == _by_label(added["greenroom-host"]) == {("greenroom/takes=traces", 4318)}
    assert added["greenroom-beat"] == []
    taken = with_component(overlay, "traces", tmp_path / "again")
    for _, container in taken.of_ours():
        settings = taken.settings(container)
        assert urlsplit(settings["OTEL_EXPORTER_OTLP_ENDPOINT"]).port == 4318
        assert settings.keys() >= {"LIVEKIT_URL", "MAX_BOTS", "DRAIN_TIMEOUT_S"}, "it adds to them"


@pytest.mark.parametrize("component", COMPONENTS)
def test_what_a_component_adds_is_valid(component: str, tmp_path: Path) -> None:
    plain = manifests("small").objects
    added = [each for each in with_component("small", component, tmp_path).objects if each not in plain]
    assert "NetworkPolicy" in {each["kind"] for each in added}
    for each in added:
        kubernetes_validate.validate(dict(each), "1.33", strict=True)


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_page_says_what_a_component_wants(component: str) -> None:
    page = (TOP / "docs" / "deploy" / "kubernetes.md").read_text()
    assert f"`{component}`" in page
    policy = (FOLDER / "components" / component / "network.yaml").read_text()
    (label,) = re.findall(r"kubectl label namespace \w+ (\S+)", policy)
    assert label in page
