"""Every pod of the manifests runs where a namespace enforces "restricted"; and the rules find what breaks them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from tests.deploy.manifests import OVERLAYS, manifests, pod
from tests.deploy.pod_security import violations

pytestmark = pytest.mark.timeout(400)  # kustomize may have to be built
Pod = dict[str, Any]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_pod_is_restricted(overlay: str) -> None:
    built = manifests(overlay)
    assert {each["metadata"]["name"]: violations(pod(each)) for each in built.workloads} == {
        each["metadata"]["name"]: [] for each in built.workloads
    }
    namespace = built.named("Namespace", "greenroom")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


def _own(spec: Pod) -> Any:
    return spec["containers"][0]["securityContext"]


BROKEN: dict[str, Callable[[Pod], object]] = {
    "hostPID": lambda spec: spec.update(hostPID=True),
    "volume hostPath": lambda spec: spec["volumes"].append({"name": "root", "hostPath": {"path": "/"}}),
    "automountServiceAccountToken": lambda spec: spec.pop("automountServiceAccountToken"),
    "host: privileged": lambda spec: _own(spec).update(privileged=True),
    "host: allowPrivilegeEscalation": lambda spec: _own(spec).pop("allowPrivilegeEscalation"),
    "host: runs as root": lambda spec: _own(spec).update(runAsUser=0),
    "host: seccompProfile": lambda spec: spec["securityContext"].pop("seccompProfile"),
    "host: capabilities": lambda spec: _own(spec)["capabilities"].update(add=["SYS_PTRACE"]),
    "host: hostPort": lambda spec: spec["containers"][0].update(ports=[{"containerPort": 1, "hostPort": 1}]),
    "host: readOnlyRootFilesystem": lambda spec: _own(spec).update(readOnlyRootFilesystem=False),
    "host: resources": lambda spec: spec["containers"][0]["resources"].pop("limits"),
}


@pytest.mark.parametrize("violation", BROKEN)
def test_what_is_not_is_found(violation: str) -> None:
    spec = copy.deepcopy(pod(manifests("small").hosts[0]))
    BROKEN[violation](spec)
    assert violations(spec) == [violation]
