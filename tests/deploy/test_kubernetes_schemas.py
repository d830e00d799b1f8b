"""Every object is what Kubernetes, KEDA and the Prometheus operator take; a field that they do not know is an error."""

from __future__ import annotations

import copy
import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from tests.deploy.manifests import FOLDER, OVERLAYS, Object, manifests
from tests.support.promql import PROMETHEUS
from tests.support.stack import TOP

pytestmark = pytest.mark.timeout(400)
OLDEST, NEWEST = "1.33", "1.36"
"""Versions of Kubernetes, still maintained at the end of 2026."""
SCHEMAS = TOP / "tests" / "deploy" / "crds"
CUSTOM = {"keda.sh/v1alpha1", "monitoring.coreos.com/v1"}
RULES = """groups:
  - name: greenroom
    rules:
      - alert: PoolEmpty
        expr: max(greenroom_pool_ready) == 0
        for: 1m
        labels: {severity: page}
        annotations: {summary: "No agent waits: {{ $value }}"}
"""


def check(thing: Object, version: str = NEWEST) -> None:
    """Raises what is wrong with it."""
    if thing["apiVersion"] in CUSTOM:
        group, _, api = str(thing["apiVersion"]).partition("/")
        schema = json.loads((SCHEMAS / f"{thing['kind']}.{group}.{api}.json").read_text())
        # Every object has these two.
        schema["properties"] |= {"apiVersion": {"type": "string"}, "kind": {"const": thing["kind"]}}
        jsonschema.Draft202012Validator(schema).validate(thing)
    else:
        kubernetes_validate.validate(dict(thing), version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_every_object_is_valid(overlay: str, version: str) -> None:
    for thing in manifests(overlay).objects:
        check(thing, version)


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        ("StatefulSet", ["spec", "template", "spec"]),
        ("NetworkPolicy", ["spec"]),
        ("ScaledObject", ["spec", "advanced", "horizontalPodAutoscalerConfig", "behavior", "scaleDown"]),
        ("TriggerAuthentication", ["spec"]),
        ("ServiceMonitor", ["spec", "endpoints", 0]),
    ],
)
def test_a_field_that_nobody_knows_is_an_error(kind: str, path: list[Any]) -> None:
    thing = copy.deepcopy(dict(manifests("production").of(kind)[0]))
    check(thing)
    within: Any = thing
    for name in path:
        within = within[name]
    within["unheardOf"] = 1
    with pytest.raises((jsonschema.ValidationError, kubernetes_validate.ValidationError), match="unheardOf"):
        check(thing)


def made_by_rules_sh(*files: Path) -> list[Object]:
    made = subprocess.run(["sh", FOLDER / "rules.sh", *files], check=True, capture_output=True, text=True)
    return list(yaml.safe_load_all(made.stdout))


def check_rules(files: Sequence[Path], made: Sequence[Object]) -> None:
    assert [rule["metadata"]["name"] for rule in made] == ["greenroom-alerts", "greenroom-rules"]
    namespace = manifests("production").named("Namespace", "greenroom")["metadata"]["name"]
    for file, rule in zip(files, made, strict=True):
        check(rule)
        assert rule["spec"] == yaml.safe_load(file.read_text())
        assert rule["metadata"]["namespace"] == namespace


def test_the_rules_as_they_are_shipped_become_the_operators() -> None:
    check_rules([PROMETHEUS / "alerts.yml", PROMETHEUS / "rules.yml"], made_by_rules_sh())


def test_rules_of_prometheus_become_the_operators(tmp_path: Path) -> None:
    files = [tmp_path / "alerts.yml", tmp_path / "rules.yml"]
    for file in files:
        file.write_text(RULES)
    check_rules(files, made_by_rules_sh(*files))


def test_a_rule_with_a_field_that_nobody_knows_is_an_error() -> None:
    made = copy.deepcopy(dict(made_by_rules_sh()[0]))
    made["spec"]["groups"][0]["rules"][0]["unheardOf"] = 1
    with pytest.raises(jsonschema.ValidationError, match="unheardOf"):
        check(made)
