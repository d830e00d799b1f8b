"""Who reaches what in Kubernetes: the Ingress, the Services and the NetworkPolicies of deploy/kubernetes."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from tests.deploy.manifests import NAME, OVERLAYS, Manifests, labels, manifests, pod, selects
from tests.deploy.routes import is_page, routes

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
