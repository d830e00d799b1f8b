"""Railway's files against the program: .railway/railway.py as its SDK evaluates it, and those for older services."""

from __future__ import annotations

import json
import os
import re
import runpy
import shlex
import tomllib
from collections.abc import Mapping
from typing import Any

import pytest
from railway_sdk import create_railway_context

from agent.settings import AgentSettings
from orchestrator.agent_environment import agent_environment
from orchestrator.cli.deploy_platforms import RAILWAY_DEFAULTS, RAILWAY_SETS, RAILWAY_TAKES, Platform
from orchestrator.cli.provision import HOST_END_S
from orchestrator.cli.serve import Program
from orchestrator.settings import SECRETS, load_settings
from tests.deploy.doctor import complaints
from tests.deploy.image import entry_point, stop_wait_s
from tests.deploy.routes import routes
from tests.deploy.settings_names import known_variables
from tests.support.stack import TOP

PROGRAMS = {"api": ["api"], "host": ["worker", "host"], "beat": ["beat"]}
OLD = {name: TOP / "deploy" / "railway" / f"{name}.toml" for name in ("host", "beat", "frontend")} | {
    "api": TOP / "railway.toml"
}
DRAINING = "RAILWAY_DEPLOYMENT_DRAINING_SECONDS"
DEPLOY = {
    "startCommand", "preDeployCommand", "numReplicas", "healthcheckPath", "healthcheckTimeout", "sleepApplication",
    "restartPolicyType", "restartPolicyMaxRetries", "cronSchedule", "region", "multiRegionConfig", "limitOverride",
    "overlapSeconds", "drainingSeconds",
}  # fmt: skip
"""What Railway knows under ``deploy``: ``DeployConfig`` of its SDK for TypeScript (3.11). Python's checks nothing."""
FAKE = {
    "REDIS_URL": "redis://default:secret@redis.railway.internal:6379",
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "a-secret-of-thirty-two-characters",
    "ADMIN_TOKEN": "a-token-of-sixteen-characters",
    "API_KEYS": "a-key-of-sixteen-characters",
    "ALLOWED_ORIGINS": "https://shop.example.com",
    "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector.railway.internal:4318",
}
REPLICA = "b1f4c2f0-0a1b-4c3d-9e8f-001122334455"


@pytest.fixture(scope="module")
def graph() -> Any:
    """What Railway's command line is given."""
    program = runpy.run_path(str(TOP / ".railway" / "railway.py"))["main"]
    made = program(create_railway_context(environment="production")).to_graph()
    return json.loads(json.dumps(made))


@pytest.fixture(scope="module")
def services(graph: Any) -> dict[str, Any]:
    return {each["name"]: each for each in graph["resources"] if each["type"] == "service"}


def literals(service: Any) -> dict[str, str]:
    return {name: each["value"] for name, each in service["variables"].items() if each["type"] == "literal"}


def settings_of(service: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """As the program on Railway reads them."""
    for variable in os.environ.keys() & known_variables():
        monkeypatch.delenv(variable)
    for name, value in given_to(service).items():
        monkeypatch.setenv(name, value)
    return load_settings()


def given_to(service: Any) -> dict[str, str]:
    """What its container has, when all that is to be filled in was."""
    given = {name: FAKE.get(name, "x" * 32) for name in service["variables"]} | literals(service)
    return given | {"RAILWAY_REPLICA_ID": REPLICA}


def test_the_services_are_all_there(graph: Any, services: Mapping[str, Any]) -> None:
    assert services.keys() == PROGRAMS.keys() | {"frontend"}
    (store,) = [each for each in graph["resources"] if each["type"] == "database"]
    assert store["engine"] == "redis"
    reference = {"type": "reference", "resource": store["address"], "output": "REDIS_URL"}
    assert [services[name]["variables"]["REDIS_URL"] for name in PROGRAMS] == [reference] * len(PROGRAMS)
    version = tomllib.loads((TOP / "pyproject.toml").read_text())["project"]["version"]
    for name, service in services.items():
        image = "greenroom-orchestrator" if name in PROGRAMS else "greenroom-frontend"
        assert service["source"]["image"].endswith(f"/{image}:{version}")
        assert service["deploy"].keys() <= DEPLOY


@pytest.mark.parametrize("name", PROGRAMS)
def test_variables_are_settings(name: str, services: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    service = services[name]
    assert service["variables"].keys() - {DRAINING} <= known_variables()
    settings = settings_of(service, monkeypatch)
    assert settings.host_id == REPLICA, "no two hosts are one"
    assert settings.redis_url == FAKE["REDIS_URL"]
    assert settings.livekit_url.startswith("wss://"), "no UDP comes in: LiveKit is elsewhere"


def test_doctor_knows_what_reaches_a_program(services: Mapping[str, Any]) -> None:
    assert RAILWAY_TAKES | RAILWAY_SETS.keys() == {each for name in PROGRAMS for each in services[name]["variables"]}


@pytest.mark.parametrize("name", PROGRAMS)
def test_no_secret_is_written(name: str, services: Mapping[str, Any]) -> None:
    providers = {field.upper() for field in AgentSettings.model_fields if field.endswith("_api_key")}
    kinds = {each["type"] for key, each in services[name]["variables"].items() if key in SECRETS | providers}
    assert kinds == {"reference", "sharedReference"}
    assert (providers <= services[name]["variables"].keys()) == (name == "host")
    assert ("ADMIN_TOKEN" in services[name]["variables"]) == (name == "api")


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_start_command_is_the_images(name: str, services: Mapping[str, Any]) -> None:
    assert shlex.split(services[name]["deploy"]["startCommand"]) == [*entry_point(), *PROGRAMS[name]]
    assert {*PROGRAMS[name]} <= {program.value for program in Program}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_is_told_where_traces_go(name: str, services: Mapping[str, Any]) -> None:
    variables = services[name]["variables"]
    for variable in ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS"):
        assert variables[variable]["type"] == "sharedReference"


def test_agents_are_given_the_key_that_a_collector_wants(
    services: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They send their spans themselves, and are given none but the variables that are named."""
    settings = settings_of(services["host"], monkeypatch)
    assert agent_environment(settings.agent_env)["OTEL_EXPORTER_OTLP_HEADERS"] == "x" * 32


def test_every_shared_variable_is_on_the_page(services: Mapping[str, Any]) -> None:
    page = (TOP / "docs" / "deploy" / "railway.md").read_text()
    variables = [each for service in services.values() for each in service["variables"].items()]
    shared = {name for name, value in variables if value["type"] == "sharedReference"}
    assert [name for name in shared if f"`{name}`" not in page] == []


def test_the_api_is_found_by_both_families(services: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(services["api"], monkeypatch)
    assert settings.bind == "::"
    assert services["api"]["deploy"]["healthcheckPath"] in routes()
    pages = literals(services["frontend"])
    assert pages["API_PORT"] == str(settings.port)
    assert services["frontend"]["variables"]["API_HOST"] == {
        "type": "reference",
        "resource": services["api"]["address"],
        "output": "RAILWAY_PRIVATE_DOMAIN",
    }
    assert settings.livekit_url in pages["LIVEKIT_SOURCES"].split()


def test_the_pages_are_told_what_their_server_reads(services: Mapping[str, Any]) -> None:
    caddy = "".join((TOP / "deploy" / "caddy" / name).read_text() for name in ("Caddyfile", "greenroom.caddy"))
    assert services["frontend"]["variables"].keys() - {"PORT"} <= {*re.findall(r"\{\$(\w+)", caddy)}
    assert literals(services["frontend"])["PORT"] == literals(services["frontend"])["FRONTEND_PORT"]
    assert "startCommand" not in services["frontend"]["deploy"]


def test_a_host_may_finish_its_calls(services: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    settings = settings_of(services["host"], monkeypatch)
    draining_s = services["host"]["deploy"]["drainingSeconds"]
    assert settings.drain_on_term
    assert settings.drain_timeout_s >= settings.max_call_s
    assert draining_s >= stop_wait_s("worker") + settings.drain_timeout_s + HOST_END_S
    assert literals(services["host"])[DRAINING] == str(draining_s)


@pytest.mark.parametrize("name", PROGRAMS)
def test_doctor_finds_nothing_to_mend_in_it(name: str, services: Mapping[str, Any]) -> None:
    assert complaints(Platform.RAILWAY, Program(name), given_to(services[name])) == {}


def test_doctor_knows_what_the_file_says(services: Mapping[str, Any]) -> None:
    for name, value in (RAILWAY_SETS | RAILWAY_DEFAULTS).items():
        found = {literals(services[each]).get(name) for each in PROGRAMS if name in services[each]["variables"]}
        assert found == {None if name == "REDIS_URL" else value}, name


def test_nothing_sleeps_and_all_comes_back(services: Mapping[str, Any]) -> None:
    for service in services.values():
        assert service["deploy"]["sleepApplication"] is False
        assert service["deploy"]["restartPolicyType"] == "ALWAYS"


@pytest.mark.parametrize("name", OLD)
def test_older_services_are_told_the_same(name: str, services: Mapping[str, Any]) -> None:
    text = OLD[name].read_text()
    old = tomllib.loads(text)
    now = {key: value for key, value in services[name]["deploy"].items() if key != "numReplicas"}
    assert old["deploy"] == now
    dockerfile = "Dockerfile.orchestrator" if name in PROGRAMS else "Dockerfile.frontend"
    assert old["build"] == {"builder": "DOCKERFILE", "dockerfilePath": dockerfile}
    assert (TOP / dockerfile).is_file()
    assert ("2026-12-01" if name == "api" else "see railway.toml") in text
    assert str(OLD[name].relative_to(TOP)) in OLD["api"].read_text()
