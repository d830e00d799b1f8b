"""The alerts: each fires and stays quiet, has a runbook, and asks for what the program tells."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from contract.keys import DEFAULT_KIND
from orchestrator.adapters import celery_queue as q
from orchestrator.adapters.queue_lag import WAITING
from orchestrator.api.store_metrics import SPAWN_FAILURES
from orchestrator.cli.deploy_platforms import COMPOSE_DEFAULTS
from orchestrator.domain.errors import GreenroomError
from tests.deploy.manifests import manifests
from tests.deploy.settings_names import known_variables
from tests.support.api import api_under_test
from tests.support.promql import PROMETHEUS, Rule, alerts, metrics_of, panel_queries, rules, selectors_of

RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
MADE_BY_PROMETHEUS = {"up"}


def promtool(*arguments: str) -> str:
    assert shutil.which("promtool"), "promtool is missing: apt-get install prometheus"
    done = subprocess.run(
        ["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_each_alert_fires_and_stays_quiet() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")


def test_each_alert_has_both_tests() -> None:
    tests = yaml.safe_load((PROMETHEUS / "alerts_test.yml").read_text())["tests"]
    seen: dict[str, set[bool]] = {}
    for test in tests:
        for each in test["alert_rule_test"]:
            seen.setdefault(each["alertname"], set()).add(bool(each["exp_alerts"]))
    assert seen == {rule.name: {True, False} for rule in alerts()}


def test_prometheus_takes_its_configuration() -> None:
    promtool("check", "config", "prometheus.yml")


def test_what_scrapes_names_the_job_as_the_rules_do() -> None:
    """The operator would name it after the Service, and no rule would ever find it."""
    asked = {job for rule in rules() for job in re.findall(r'\bjob="([^"]*)"', rule.expr)}
    [scrape] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["scrape_configs"]
    [monitor] = manifests("production").of("ServiceMonitor")
    [endpoint] = monitor["spec"]["endpoints"]
    assert {scrape["job_name"]} == asked
    assert [each for each in endpoint.get("relabelings", []) if each["targetLabel"] == "job"] == [
        {"targetLabel": "job", "replacement": name} for name in asked
    ]


def test_the_look_for_lost_hosts_is_timed_by_how_often_it_is_asked_for() -> None:
    [rule] = [rule for rule in alerts() if rule.name == "QueueGrowing"]
    asked = f'{q.REPLACE_LOST_EVERY_S} * max by (queue) (greenroom_queue_length{{queue="{q.URGENT_QUEUE}"}})'
    assert asked in rule.expr


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule.name)
def test_each_alert_says_what_to_do(rule: Rule) -> None:
    assert rule.content["labels"]["severity"] in {"critical", "warning"}
    notes = rule.content["annotations"]
    assert notes["summary"]
    assert notes["description"]
    assert notes["runbook_url"] == f"docs/runbooks/{rule.name}.md"
    text = (RUNBOOKS / f"{rule.name}.md").read_text()
    assert [line for line in text.splitlines() if line.startswith("#")] == [
        f"# {rule.name}", "## What it means", "## Look here", "## Do this", "## Seen happening",
    ]  # fmt: skip


def test_there_is_no_runbook_without_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == {rule.name for rule in alerts()} | {"README"}


def test_a_runbook_names_only_metrics_that_there_are(told: set[str]) -> None:
    for path in RUNBOOKS.glob("*.md"):
        named = set(re.findall(r"`((?:greenroom|voice)_\w+)", path.read_text()))
        assert named <= told, path.name


async def test_a_runbook_names_only_what_there_is() -> None:
    """Settings, fields and codes of the API, its calls, queues: whatever is quoted and looks like one."""
    async with api_under_test() as api:
        document = (await api.client.get("/openapi.json")).json()
    known = {
        "settings": {*known_variables(), *COMPOSE_DEFAULTS},
        "names": {*_properties(document), *_codes(), "runbook_url"},
        "calls": {f"{method.upper()} {path}" for path, methods in document["paths"].items() for method in methods},
        "queues": {*q.shared_names([DEFAULT_KIND]), WAITING},
    }
    for path in RUNBOOKS.glob("*.md"):
        unknown = {what: found - known[what] for what, found in _quoted(path.read_text()).items()}
        assert not any(unknown.values()), f"{path.name}: {unknown}"


def _quoted(text: str) -> dict[str, set[str]]:
    quoted = [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", text)]
    return {
        "settings": {each.partition("=")[0] for each in quoted if re.match(r"[A-Z]+_[A-Z_]+(=|$)", each)},
        "names": {each for each in quoted if re.fullmatch(r"(?!greenroom_|voice_)[a-z]+([A-Z]\w*|_\w+)", each)},
        "calls": {each for each in quoted if re.match(r"(GET|POST|DELETE) /", each)},
        "queues": {name for each in quoted for name in re.findall(r'queue="([^"]*)"', each)},
    }


def test_what_a_runbook_quotes_is_found() -> None:
    text = '`MAX_BOTS=3` `capacity_reason` `capacityReason` `greenroom_x{queue="refill"}` `GET\n  /api/hosts` `spawn`'
    assert _quoted(text) == {
        "settings": {"MAX_BOTS"}, "names": {"capacity_reason", "capacityReason"}, "calls": {"GET /api/hosts"},
        "queues": {"refill"},
    }  # fmt: skip


def test_who_looks_for_beats_refills_is_sent_to_their_queue() -> None:
    queues = _quoted((RUNBOOKS / "BeatLate.md").read_text())["queues"]
    assert queues == {q.POOL_QUEUE}


def _properties(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        properties = schema.get("properties")
        yield from properties if isinstance(properties, dict) else ()
        schema = list(schema.values())
    for each in schema if isinstance(schema, list) else ():
        yield from _properties(each)


def _codes() -> set[str]:
    """Of the API's errors, and of failed spawns."""
    return {error.code for error in GreenroomError.__subclasses__()} | set(SPAWN_FAILURES)


def test_no_runbook_asks_a_supervisord_without_saying_which() -> None:
    """Its configuration is in GREENROOM_HOME, where supervisorctl does not look."""
    for path in RUNBOOKS.glob("*.md"):
        assert not re.search(r"supervisorctl (?!-c )", path.read_text()), path.name


@pytest.fixture
async def told() -> set[str]:
    """Every series' name that the program tells, with what Prometheus and the recording rules add."""
    async with api_under_test() as api:
        await api.heartbeat()
        await api.container.store.refill_begun()
        text = (await api.client.get("/metrics")).text
    names = set()
    for family in text_string_to_metric_families(text):
        suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        names |= {family.name + suffix for suffix in suffixes}
    # Redis's own: the one in this process does not tell it. tests/ports/test_measures.py asks the real one.
    names |= {"greenroom_redis_memory_used_bytes", "greenroom_redis_memory_max_bytes"}
    return names | MADE_BY_PROMETHEUS | {rule.name for rule in rules() if not rule.is_alert}


async def test_every_metric_that_is_asked_for_is_told(told: set[str]) -> None:
    asked = {f"rule {rule.name}": rule.expr for rule in rules()} | panel_queries()
    unknown = {place: left for place, expr in asked.items() if (left := metrics_of(expr) - told)}
    assert unknown == {}


def test_a_querys_metrics_are_found() -> None:
    expr = 'histogram_quantile(0.9, sum by (le, a_b) (rate(a_bucket{x="y z"}[5m]))) > 1e3 and on (h) r:s:t5m == 0 or up'
    assert metrics_of(expr) == {"a_bucket", "r:s:t5m", "up"}
    assert selectors_of(expr) == {'a_bucket{x="y z"}', "r:s:t5m", "up"}
