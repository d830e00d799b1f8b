"""The manifests of deploy/kubernetes against the program: its settings, ports, paths, commands and time-outs."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from contract.keys import DEFAULT_KIND
from orchestrator.agent_environment import agent_environment
from orchestrator.cli.deploy_platforms import KUBERNETES_DEFAULTS, Platform
from orchestrator.cli.main import COMMANDS
from orchestrator.cli.provision import HOST_END_S
from orchestrator.cli.serve import Program
from orchestrator.settings import Settings, load_settings
from tests.deploy.doctor import complaints
from tests.deploy.image import stop_wait_s
from tests.deploy.manifests import (
    FOLDER,
    NAME,
    OVERLAYS,
    Manifests,
    documented_secrets,
    labels,
    manifests,
    pod,
    secrets_of,
    selects,
)
from tests.deploy.routes import routes
from tests.deploy.settings_names import known_variables
from tests.support.stack import TOP

pytestmark = pytest.mark.timeout(400)
PROGRAMS = {"greenroom-api": ["api"], "greenroom-beat": ["beat"], "greenroom-host": ["worker", "host"]}
POD = "a-pod-0"
SECRETS = {
    "REDIS_URL": "rediss://:secret@redis.example.com:6379/0",
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "a-secret-of-thirty-two-characters",
    "ADMIN_TOKEN": "a-token-of-sixteen-characters",
    "API_KEYS": "a-key-of-sixteen-characters",
}


@pytest.fixture(params=OVERLAYS)
def built(request: pytest.FixtureRequest) -> Manifests:
    return manifests(request.param)


@pytest.fixture
def read(built: Manifests, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[Any, Any], Settings]:
    """The settings of a workload's container, as the program in it would read them."""

    def settings(workload: Any, container: Any) -> Settings:
        for variable in os.environ.keys() & known_variables():
            monkeypatch.delenv(variable)
        given = given_to(built, container)
        for path, text in built.mounted(workload, container).items():
            here = tmp_path / Path(path).name
            here.write_text(text)
            given = {name: str(here) if value == path else value for name, value in given.items()}
        for variable, value in given.items():
            monkeypatch.setenv(variable, value)
        return load_settings()

    return settings


Read = Callable[[Any, Any], Settings]


def given_to(built: Manifests, container: Any) -> dict[str, str]:
    """What a container has, when all that is to be filled in was."""
    given = built.settings(container) | {name: SECRETS.get(name, "x" * 32) for name in secrets_of(container)}
    names = {each["name"] for each in container["env"] if "fieldRef" in each.get("valueFrom", {})}
    return given | dict.fromkeys(names, POD)


# --- settings -------------------------------------------------------------------------------------------


def test_every_variable_is_a_setting(built: Manifests) -> None:
    for workload, container in built.of_ours():
        given = built.settings(container).keys() | {each["name"] for each in container["env"]}
        assert given - known_variables() == set(), workload["metadata"]["name"]


def test_every_program_starts_with_its_settings(built: Manifests, read: Read) -> None:
    for workload, container in built.of_ours():
        settings = read(workload, container)
        assert settings.redis_url == SECRETS["REDIS_URL"]
        assert settings.drain_on_term
    api = next(each for each in built.of_ours() if each[1]["args"] == ["api"])
    settings = read(*api)
    assert settings.admin_token is not None
    assert settings.api_keys


def test_doctor_finds_nothing_to_mend_in_it(built: Manifests, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other sites' pages are nobody's as it comes."""
    monkeypatch.setattr("socket.gethostname", lambda: POD)
    for workload, container in built.of_ours():
        program = Program(labels(workload)[NAME].removeprefix("greenroom-"))
        found = complaints(Platform.KUBERNETES, program, given_to(built, container))
        assert found == ({"ALLOWED_ORIGINS": "warn"} if program is Program.API else {})


def test_doctor_knows_what_the_settings_are_as_they_come() -> None:
    lines = (FOLDER / "base" / "settings.env").read_text().splitlines()
    shipped = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    assert shipped.items() >= KUBERNETES_DEFAULTS.items()


def test_no_secret_is_written_and_each_is_documented(built: Manifests) -> None:
    documented = documented_secrets()
    for workload in built.workloads:
        for container in pod(workload)["containers"]:
            for variable, (secret, key) in secrets_of(container).items():
                assert key == variable
                assert key in documented[secret]
    for _, container in built.of_ours():
        assert not built.settings(container).keys() & documented["greenroom"]
    assert documented["greenroom"] <= known_variables()
    assert built.of("Secret") == []


def test_only_hosts_know_the_providers_and_only_the_api_the_operator(built: Manifests) -> None:
    providers = {"ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY"}
    for workload, container in built.of_ours():
        given = secrets_of(container).keys()
        assert (providers <= given) == (labels(workload)[NAME] == "greenroom-host")
        for secret in ("ADMIN_TOKEN", "API_KEYS", "JWT_SECRET"):
            assert (secret in given) == (labels(workload)[NAME] == "greenroom-api")
        assert ("OTEL_EXPORTER_OTLP_HEADERS" in given) == (labels(workload)[NAME] != "greenroom-beat")


def test_what_not_everybody_has_may_be_missing(built: Manifests) -> None:
    needed = {"REDIS_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "ADMIN_TOKEN"}
    for _, container in built.of_ours():
        refs = {each["name"]: each["valueFrom"].get("secretKeyRef") for each in container["env"] if "valueFrom" in each}
        assert {name for name, ref in refs.items() if ref and not ref.get("optional")} <= needed


def test_agents_keys_of_their_own_reach_hosts_and_set_nothing_of_ours(built: Manifests) -> None:
    """Of two sources the later one wins: a key in that Secret changes no setting."""
    keys = {"secretRef": {"name": "greenroom-agent-keys", "optional": True}}
    for workload, container in built.of_ours():
        (*others, last) = container["envFrom"]
        assert "configMapRef" in last
        assert others == ([keys] if labels(workload)[NAME] == "greenroom-host" else [])


def test_agents_are_given_the_key_that_a_collector_wants(built: Manifests, read: Read) -> None:
    """They send their spans themselves, and are given none but the variables that are named."""
    for workload in built.hosts:
        (container,) = pod(workload)["containers"]
        given = agent_environment(read(workload, container).agent_env)
        assert given["OTEL_EXPORTER_OTLP_HEADERS"] == "x" * 32


def test_kubernetes_sets_no_variable_of_its_own(built: Manifests) -> None:
    """Each Service would be a variable: REDIS_PORT is a setting, and one of them could be called redis."""
    assert all(pod(workload)["enableServiceLinks"] is False for workload in built.workloads)


# --- programs -------------------------------------------------------------------------------------------


def test_containers_run_the_programs(built: Manifests) -> None:
    for workload, container in built.of_ours():
        assert container["args"] == PROGRAMS[labels(workload)[NAME]]
        assert {*container["args"]} <= {program.value for program in Program}
        assert "command" not in container, "the image's own, with an init first"
    assert {labels(each)[NAME] for each, _ in built.of_ours()} == PROGRAMS.keys()


def test_all_run_one_version_of_the_image(built: Manifests) -> None:
    (image,) = {container["image"] for _, container in built.of_ours()}
    version = next(
        line for line in (TOP / "pyproject.toml").read_text().splitlines() if line.startswith("version = ")
    ).split('"')[1]
    assert image.endswith(f":{version}")


def test_what_is_written_is_on_a_volume(built: Manifests, read: Read) -> None:
    for workload, container in built.of_ours():
        home = read(workload, container).greenroom_home
        kinds = {each["name"]: each for each in pod(workload)["volumes"]}
        writable = {mount["mountPath"] for mount in container["volumeMounts"] if "emptyDir" in kinds[mount["name"]]}
        assert writable == {str(home), "/tmp"}


def test_ports_and_probes_are_the_apis(built: Manifests, read: Read) -> None:
    ((workload, container),) = [each for each in built.of_ours() if each[1]["args"] == ["api"]]
    settings = read(workload, container)
    assert container["ports"] == [{"name": "http", "containerPort": settings.port}]
    assert settings.bind == "::"
    probes = [container[name]["httpGet"] for name in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert {probe["port"] for probe in probes} == {"http"}
    assert [probe["path"] for probe in probes] == ["/health/live"] * 3, "no pod leaves the Service for what all share"
    assert {probe["path"] for probe in probes} <= routes()


def test_a_host_is_not_restarted_by_a_probe(built: Manifests) -> None:
    for workload in built.hosts:
        (container,) = pod(workload)["containers"]
        assert "livenessProbe" not in container
        for probe in (container["startupProbe"], container["readinessProbe"]):
            program, command = probe["exec"]["command"]
            assert program == "greenroom"
            assert command in COMMANDS


# --- stopping -------------------------------------------------------------------------------------------


def test_a_host_is_given_as_long_as_a_call(built: Manifests, read: Read) -> None:
    for workload in built.hosts:
        (container,) = pod(workload)["containers"]
        settings = read(workload, container)
        grace_s = pod(workload)["terminationGracePeriodSeconds"]
        assert settings.drain_on_term
        assert settings.drain_timeout_s >= settings.max_call_s
        assert grace_s >= stop_wait_s("worker") + settings.drain_timeout_s + HOST_END_S
        assert "lifecycle" not in container, "SIGTERM drains it"
        assert workload["spec"]["podManagementPolicy"] == "Parallel"


def test_what_is_raised_with_the_longest_call_is_said_beside_it() -> None:
    before = (FOLDER / "base" / "settings.env").read_text().partition("\nMAX_CALL_S=")[0]
    comment = " ".join(line.removeprefix("# ") for line in before.splitlines()[-2:])
    assert "DRAIN_TIMEOUT_S, and terminationGracePeriodSeconds" in comment
    (above_s,) = map(int, re.findall(r"has to be (\d+) above", comment))
    assert above_s >= stop_wait_s("worker") + HOST_END_S


def test_an_api_answers_until_nobody_asks_it(built: Manifests) -> None:
    api = built.named("Deployment", "greenroom-api")
    (container,) = pod(api)["containers"]
    before_s = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod(api)["terminationGracePeriodSeconds"] >= before_s + stop_wait_s("api")
    assert api["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_disruptions_take_one_at_a_time(built: Manifests) -> None:
    budgets = built.of("PodDisruptionBudget")
    for workload, _ in built.of_ours():
        (budget,) = [each for each in budgets if selects(each["spec"]["selector"], labels(workload))]
        assert budget["spec"]["maxUnavailable"] == 1


def test_hosts_are_spread(built: Manifests) -> None:
    for workload in built.hosts:
        (term,) = pod(workload)["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
        assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
        assert selects(term["podAffinityTerm"]["labelSelector"], labels(workload))
        zones = [each["topologyKey"] for each in pod(workload)["topologySpreadConstraints"]]
        assert zones == ["topology.kubernetes.io/zone"]


# --- kinds of agents ------------------------------------------------------------------------------------


def test_each_kind_has_hosts_of_its_own() -> None:
    built = manifests("production")
    files = [
        tomllib.loads(each["data"]["agents.toml"]) for each in built.of("ConfigMap") if "agents.toml" in each["data"]
    ]
    (kinds,) = files
    filters = {}
    for workload in built.hosts:
        (container,) = pod(workload)["containers"]
        filters[workload["metadata"]["name"]] = built.settings(container)["AGENT_FILTER"]
    # Without hosts of the default kind, a start that names none would wait for ever.
    assert filters == {f"greenroom-host-{kind}": kind for kind in (DEFAULT_KIND, *kinds)}


def test_every_program_has_the_file_of_kinds() -> None:
    built = manifests("production")
    for workload, container in built.of_ours():
        assert built.settings(container)["AGENTS_FILE"] in built.mounted(workload, container)


# --- the page -------------------------------------------------------------------------------------------

PAGE = (TOP / "docs" / "deploy" / "kubernetes.md").read_text()


def named_in(text: str) -> set[str]:
    """The objects that its commands name, as TYPE/NAME."""
    found = re.findall(r"\b(deploy|deployment|statefulset)/(greenroom-[a-z-]+)", text)
    return {f"{'deployment' if kind == 'deploy' else kind}/{name}" for kind, name in found}


def workloads_of(overlay: str) -> set[str]:
    return {f"{each['kind'].lower()}/{each['metadata']['name']}" for each in manifests(overlay).workloads}


def test_commands_name_what_an_overlay_has() -> None:
    assert named_in(PAGE) <= workloads_of("small") | workloads_of("production")
    assert not re.search(r"\bkustomize (build|edit)\b", PAGE), "kubectl has no such command"


def test_a_rollback_is_one_of_all_that_runs_in_production() -> None:
    (commands,) = [block for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) if "rollout undo" in block]
    assert named_in(commands) == workloads_of("production")
