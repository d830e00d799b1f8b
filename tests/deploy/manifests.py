"""The Kubernetes manifests of deploy/kubernetes as tests look at them."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.kustomize import build
from tests.support.stack import TOP

FOLDER = TOP / "deploy" / "kubernetes"
OVERLAYS = ("small", "production")
COMPONENTS = ("livekit-in-cluster", "traces")
IMAGE = "greenroom-orchestrator"
WORKLOADS = ("Deployment", "StatefulSet")
NAME = "app.kubernetes.io/name"

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Manifests:
    """Everything that one overlay makes."""

    objects: tuple[Object, ...]

    def of(self, *kinds: str) -> list[Object]:
        return [each for each in self.objects if each["kind"] in kinds]

    def named(self, kind: str, name: str) -> Object:
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    @property
    def workloads(self) -> list[Object]:
        return self.of(*WORKLOADS)

    @property
    def hosts(self) -> list[Object]:
        """The sets of hosts."""
        return [each for each in self.of("StatefulSet") if labels(each)[NAME] == "greenroom-host"]

    def of_ours(self) -> Iterator[tuple[Object, Object]]:
        """Each workload of our image, and its container."""
        for workload in self.workloads:
            for container in pod(workload)["containers"]:
                if IMAGE in container["image"]:
                    yield workload, container

    def settings(self, container: Object) -> dict[str, str]:
        """Those that are written in the manifests, out of ConfigMaps too."""
        given: dict[str, str] = {}
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                given |= self.named("ConfigMap", source["configMapRef"]["name"])["data"]
        return given | {each["name"]: each["value"] for each in container.get("env", []) if "value" in each}

    def mounted(self, workload: Object, container: Object) -> dict[str, str]:
        """The files that the container has out of ConfigMaps, by their paths."""
        volumes = {each["name"]: each for each in pod(workload)["volumes"]}
        return {
            f"{mount['mountPath']}/{name}": text
            for mount in container["volumeMounts"]
            if "configMap" in (volume := volumes[mount["name"]])
            for name, text in self.named("ConfigMap", volume["configMap"]["name"])["data"].items()
        }


@functools.cache
def manifests(overlay: str) -> Manifests:
    """One overlay, built once."""
    return Manifests(tuple(build(FOLDER / "overlays" / overlay)))


def with_component(overlay: str, component: str, folder: Path) -> Manifests:
    """One overlay that takes a component, as its user would write it: in a copy in this folder."""
    shutil.copytree(FOLDER, folder / "kubernetes")
    path = folder / "kubernetes" / "overlays" / overlay / "kustomization.yaml"
    path.write_text(f"{path.read_text()}components: [../../components/{component}]\n")
    return Manifests(tuple(build(path.parent)))


def pod(workload: Object) -> Any:
    return workload["spec"]["template"]["spec"]


def labels(workload: Object) -> Mapping[str, str]:
    """Its pods' labels."""
    found: Mapping[str, str] = workload["spec"]["template"]["metadata"]["labels"]
    return found


def selects(selector: Any, given: Any) -> bool:
    """Whether a label selector means what has these labels."""
    expressions = selector.get("matchExpressions", [])
    return selector.get("matchLabels", {}).items() <= given.items() and all(
        given.get(each["key"]) in each["values"] for each in expressions
    )


def secrets_of(container: Object) -> dict[str, tuple[str, str]]:
    """The Secret and the key in it, by the variable that it becomes."""
    refs = {each["name"]: each["valueFrom"] for each in container.get("env", []) if "valueFrom" in each}
    return {
        name: (ref["secretKeyRef"]["name"], ref["secretKeyRef"]["key"])
        for name, ref in refs.items()
        if "secretKeyRef" in ref
    }


def documented_secrets() -> dict[str, set[str]]:
    """The keys of each Secret, as its example has them."""
    files = {"greenroom": "secret.env.example", "greenroom-redis": "redis.env.example"}
    return {name: _keys(FOLDER / file) for name, file in files.items()}


def _keys(path: Path) -> set[str]:
    lines = path.read_text().splitlines()
    return {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
