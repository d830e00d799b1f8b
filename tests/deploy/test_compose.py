"""The Compose files against their schema, and against the program: a name that changed here breaks a test."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from ipaddress import ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from fastapi.routing import APIRoute

from agent.settings import AgentSettings
from deploy.cost import Measured, Model
from deploy.prices import Machine
from orchestrator.api.app import ROUTERS
from orchestrator.api.pages import content_security_policy
from orchestrator.cli.deploy_checks import Deployment, examine, redis_fits_its_container, stop_takes_s
from orchestrator.cli.deploy_platforms import (
    COMPOSE_DEFAULTS,
    COMPOSE_IGNORES,
    COMPOSE_SETS,
    COMPOSE_WANTS,
    IMAGE_SETS,
    Platform,
    environment_on,
)
from orchestrator.cli.main import COMMANDS
from orchestrator.cli.serve import Program
from orchestrator.settings import Settings, read_elsewhere
from tests.deploy.compose import TREE, ComposeFile, image_environment, seconds
from tests.deploy.settings_names import OF_COMMANDS, OF_OPENTELEMETRY, known_variables

LAPTOP, PROD = ComposeFile("docker-compose.celery.yml"), ComposeFile("docker-compose.prod.yml")
BOTH = pytest.mark.parametrize("file", [LAPTOP, PROD], ids=lambda file: file.name)
GIVEN = {
    "DOMAIN": "voice.example.com",
    "LIVEKIT_DOMAIN": "livekit.example.com",
    "ACME_EMAIL": "ops@example.com",
    "REDIS_PASSWORD": "a-password-of-some-length",
    "GRAFANA_PASSWORD": "another-password",
    "ADMIN_TOKEN": "t" * 32,
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "s" * 32,
}
HOOK = {"ALERT_WEBHOOK_URL": "https://hooks.example.com/greenroom"}
OF_COMPOSE = {
    *COMPOSE_WANTS, "GREENROOM_TAG", "HOSTS", "HOST_CPUS", "HOST_MEMORY", "HOST_STOP_GRACE_S", "REDIS_MEMORY",
    "REDIS_CONTAINER_MEMORY", "LIVEKIT_CPUS", "LIVEKIT_MEMORY", "ALERT_WEBHOOK_URL",
}  # fmt: skip
"""What the files take that is no setting of Greenroom's."""
ON_A_LAPTOP = {
    "REDIS_URL", "LIVEKIT_URL", "HOST_ID", "DRAIN_ON_TERM", "TRUSTED_PROXIES",  # the file says them
    "GREENROOM_HOME",  # the image says it
    "AGENT_FILTER",  # the one host serves every kind
    "JWT_TENANT_CLAIM",  # nobody's customers call
    "AGENT_USER", "ECS_AGENT_URI",  # as in COMPOSE_IGNORES
}  # fmt: skip
"""What a laptop's file does not take, though pages for operators name it."""
PORT = Settings.model_fields["port"].default
CLOUD = {"LIVEKIT_URL": "wss://my-project.livekit.cloud", "LIVEKIT_DOMAIN": "my-project.livekit.cloud"}
NAME = re.compile(r"`([A-Z][A-Z0-9_]+)[=`]")
ROUTES = {route.path for module in ROUTERS for route in module.router.routes if isinstance(route, APIRoute)}
WORDS_OF_CADDY = {"DOMAIN", "LIVEKIT_DOMAIN", "ACME_EMAIL", "API_HOST", "API_PORT", "LIVEKIT_SCHEME", "LIVEKIT_SOURCES"}


def settings_of(service: dict[str, Any]) -> Settings:
    """What a program of this service would read."""
    given = {name: value for name, value in service["environment"].items() if value is not None}
    environ = image_environment() | given
    values = {name.lower(): value for name, value in environ.items() if name.lower() in Settings.model_fields}
    return Settings.model_validate(values)


@BOTH
def test_it_follows_the_schema_of_compose(file: ComposeFile) -> None:
    argv = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(TREE / file.name)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@BOTH
def test_every_variable_of_a_program_is_one_that_it_reads(file: ComposeFile) -> None:
    for name, service in file.of_ours(GIVEN):
        assert set(service["environment"]) - known_variables() == set(), name


@BOTH
def test_every_variable_that_is_taken_is_a_setting_or_told(file: ComposeFile) -> None:
    assert file.variables - known_variables() - OF_COMPOSE == set()
    page = (TREE / "docs/deploy/compose.md").read_text()
    assert [name for name in file.variables & OF_COMPOSE if f"`{name}`" not in page] == []


@pytest.mark.parametrize(
    ("file", "left_out"),
    [(LAPTOP, ON_A_LAPTOP), (PROD, COMPOSE_SETS.keys() | COMPOSE_IGNORES)],
    ids=lambda each: getattr(each, "name", ""),
)
def test_what_pages_for_operators_name_can_be_set(file: ComposeFile, left_out: set[str]) -> None:
    pages = [TREE / "docs/operations.md", *(TREE / "docs/runbooks").glob("*.md")]
    named = {name for page in pages for name in NAME.findall(page.read_text())} & known_variables()
    assert {"PRICES", "GROQ_MODEL", "SESSION_RECORD_S", "OTEL_EXPORTER_OTLP_HEADERS"} <= named
    assert named - file.variables == named & left_out


@BOTH
def test_what_an_agent_wants_besides_comes_from_a_file_of_its_own(file: ComposeFile) -> None:
    services = {name: service.get("env_file") for name, service in file.of_ours(GIVEN)}
    given = services.pop("agents" if file is PROD else "orchestrator")
    assert given == [{"path": "agents.env", "required": False}]
    assert not any(services.values()), "nobody else is given it"


@BOTH
def test_every_program_can_be_started_with_its_settings(file: ComposeFile) -> None:
    for name, service in file.of_ours(GIVEN):
        found = settings_of(service)
        assert urlsplit(found.redis_url).hostname == "redis", name
        assert found.port == PORT, name
        assert set(service["command"]) <= {program.value for program in Program}, name


def test_the_image_says_what_doctor_takes_it_to_say() -> None:
    environment = image_environment()
    assert environment.items() >= IMAGE_SETS.items()
    assert set(environment) - known_variables() == {"PATH", "PYTHONUNBUFFERED", "PYTHONDONTWRITEBYTECODE"}


def test_the_images_health_check_is_a_command() -> None:
    [words] = re.findall(r'^HEALTHCHECK .* CMD \["greenroom", "(\w+)"\]$', _dockerfile(), re.MULTILINE)
    assert words in COMMANDS
    [words] = re.findall(r'^ENTRYPOINT \["/usr/bin/tini", "--", "greenroom", "(\w+)"\]$', _dockerfile(), re.MULTILINE)
    assert words in COMMANDS


def _dockerfile() -> str:
    return (TREE / "Dockerfile.orchestrator").read_text()


@BOTH
def test_livekit_tells_the_api_by_its_own_port_and_path(file: ComposeFile) -> None:
    services = file.services(GIVEN)
    config = yaml.safe_load(services["livekit"]["environment"]["LIVEKIT_CONFIG"])
    [url] = config["webhook"]["urls"]
    assert urlsplit(url).path in ROUTES
    assert urlsplit(url).hostname in {name for name, _ in file.of_ours(GIVEN)}
    assert urlsplit(url).port == PORT
    [key, secret] = services["livekit"]["environment"]["LIVEKIT_KEYS"].split(": ")
    assert key == config["webhook"]["api_key"]
    for name, service in file.of_ours(GIVEN):
        found = settings_of(service)
        assert (found.livekit_api_key, found.livekit_api_secret.get_secret_value()) == (key, secret), name
        assert urlsplit(found.livekit_url).port == config["port"]


@pytest.mark.parametrize(
    ("file", "given"), [(LAPTOP, GIVEN), (PROD, GIVEN), (PROD, GIVEN | CLOUD)], ids=["laptop", "prod", "cloud"]
)
def test_pages_may_connect_to_the_livekit_that_browsers_are_told(file: ComposeFile, given: dict[str, str]) -> None:
    services = file.services(given)
    front = services.get("frontend") or services["caddy"]
    [ours] = [service for name, service in file.of_ours(given) if name in {"orchestrator", "api"}]
    told = settings_of(ours).public_livekit_url
    assert f"connect-src 'self' {front['environment']['LIVEKIT_SOURCES']};" in content_security_policy(told)


@BOTH
def test_caddy_is_told_where_the_api_is(file: ComposeFile) -> None:
    services = file.services(GIVEN)
    front = services.get("frontend") or services["caddy"]
    [ours] = [name for name in ("orchestrator", "api") if name in services]
    assert networks_known(services[ours], ours, front["environment"]["API_HOST"])
    assert front["environment"]["API_PORT"] == str(PORT)
    assert set(front["environment"]) <= WORDS_OF_CADDY
    read = "".join(path.read_text() for path in (TREE / "deploy/caddy").iterdir())
    assert [name for name in front["environment"] if f"{{${name}" not in read] == []


@BOTH
def test_what_is_mounted_is_there(file: ComposeFile) -> None:
    document = file.document(GIVEN)
    for service in document["services"].values():
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert source in document["volumes"] or (TREE / source).exists(), volume


# --- a laptop ------------------------------------------------------------------------------------------------


def test_a_laptop_needs_no_variable_and_shows_nothing_to_others() -> None:
    assert LAPTOP.wanted == set()
    published = [port for service in LAPTOP.services({}).values() for port in service.get("ports", [])]
    assert len(published) == 5
    assert all(port.startswith("127.0.0.1:") for port in published)
    assert {port.split(":")[1] for port in published} >= {"3000", str(PORT)}


def test_a_laptops_programs_have_the_time_to_end_their_agents() -> None:
    for _, service in LAPTOP.of_ours({}):
        found = settings_of(service)
        assert not found.drain_on_term
        assert seconds(service["stop_grace_period"]) >= stop_takes_s(found) - found.drain_timeout_s


# --- production ----------------------------------------------------------------------------------------------


def test_only_caddy_and_livekit_are_published() -> None:
    published = {name: service["ports"] for name, service in PROD.services(GIVEN).items() if "ports" in service}
    assert set(published) == {"caddy", "livekit"}
    config = yaml.safe_load(PROD.services(GIVEN)["livekit"]["environment"]["LIVEKIT_CONFIG"])
    tcp, udp = config["rtc"]["tcp_port"], config["rtc"]["udp_port"]
    assert published["livekit"] == [f"{tcp}:{tcp}", f"{udp}:{udp}/udp"]


def test_every_service_is_read_only_restarted_watched_and_bounded() -> None:
    for name, service in PROD.services(GIVEN).items():
        assert service["read_only"], name
        assert service["restart"] == "unless-stopped", name
        assert service["cap_drop"] == ["ALL"], name
        has_check = "healthcheck" in service or "build" in service  # those that are built have one in their image
        assert has_check, name
        assert name == "caddy" or service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory", "pids"}, name


def test_there_is_more_than_one_of_what_can_be() -> None:
    services = PROD.services(GIVEN)
    replicas = {name: service.get("deploy", {}).get("replicas") for name, service in services.items()}
    assert {name: count for name, count in replicas.items() if count} == {"api": 2, "agents": 2, "beat": 2}
    assert services["agents"]["command"] == ["worker", "host"]


def test_calls_have_the_time_to_end() -> None:
    agents = PROD.services(GIVEN)["agents"]
    found = settings_of(agents)
    assert found.drain_on_term
    assert seconds(agents["stop_grace_period"]) >= stop_takes_s(found)
    assert found.drain_timeout_s >= found.max_call_s


def test_longer_calls_can_be_given_the_time_to_end() -> None:
    longer = {"MAX_CALL_S": "7200", "DRAIN_TIMEOUT_S": "7200", "HOST_STOP_GRACE_S": "7320"}
    agents = PROD.services(GIVEN | longer)["agents"]
    assert "MAX_CALL_S" in agents["environment"]
    found = settings_of(agents)
    assert found.drain_timeout_s == 7200
    assert seconds(agents["stop_grace_period"]) == 7320 >= stop_takes_s(found)


def test_livekit_may_be_elsewhere() -> None:
    for name, service in PROD.of_ours(GIVEN | CLOUD):
        found = settings_of(service)
        assert found.livekit_url == found.public_livekit_url == CLOUD["LIVEKIT_URL"], name
    assert PROD.services(GIVEN | CLOUD)["caddy"]["environment"]["LIVEKIT_SCHEME"] == "http://"
    assert PROD.services(GIVEN)["caddy"]["environment"]["LIVEKIT_SCHEME"] == ""


def test_programs_may_write_where_they_have_to() -> None:
    for name, service in PROD.of_ours(GIVEN):
        home = str(settings_of(service).greenroom_home)
        assert any(place.split(":")[0] == home for place in service["tmpfs"]), name
        [place] = [place for place in service["tmpfs"] if place.startswith(home)]
        [user] = re.findall(r"^USER (\d+):\d+$", _dockerfile(), re.MULTILINE)
        assert f"uid={user}" in place


def test_redis_forgets_nothing_and_is_reached_from_inside_alone() -> None:
    document = PROD.document(GIVEN)
    redis = document["services"]["redis"]
    assert redis["networks"] == ["inside"]
    assert document["networks"]["inside"]["internal"]
    command = redis["command"][-1]
    for words in ("--maxmemory-policy noeviction", "--appendonly yes", "requirepass $REDIS_PASSWORD"):
        assert words in command


def test_redis_has_room_to_write_its_file_anew() -> None:
    """And what it may hold is raised with the container's limit only, or doctor says so."""
    redis = PROD.services({**GIVEN, "REDIS_MEMORY": "1gb", "REDIS_CONTAINER_MEMORY": "2g"})["redis"]
    assert redis["environment"]["REDIS_MEMORY"] == "1gb"
    assert redis["deploy"]["resources"]["limits"]["memory"] == "2g"
    environ = environment_on(Platform.COMPOSE, GIVEN)
    assert redis_fits_its_container(Deployment(read_elsewhere(environ), environ)).state == "ok"


def test_livekit_may_be_given_what_many_calls_take() -> None:
    """By the figures that costs.md has: with two processors it ends at 47, however many hosts there are."""
    model = Model(Measured.read())
    services = PROD.services(GIVEN)
    host = services["agents"]["deploy"]["resources"]["limits"]
    of_a_host = model.calls_of(Machine(int(host["cpus"]), int(host["memory"].removesuffix("g")), 0))
    page = (TREE / "docs/deploy/compose.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    assert len(rows) == 4
    for calls, *said in (map(int, row) for row in rows):
        agents = calls + model.waiting(calls)
        assert said == [agents, math.ceil(agents / of_a_host), math.ceil(model.livekit_cpus(calls))], calls
        given = GIVEN | {"LIVEKIT_CPUS": str(said[2]), "LIVEKIT_MEMORY": "2g"}
        limits = PROD.services(given)["livekit"]["deploy"]["resources"]["limits"]
        assert (limits["cpus"], limits["memory"]) == (str(said[2]), "2g")
    assert model.livekit_cpus(47) <= float(services["livekit"]["deploy"]["resources"]["limits"]["cpus"])


def test_the_file_is_content_with_what_the_page_has_one_write() -> None:
    """Every line of its .env, filled in, and no other, in the image: doctor only asks who may call."""
    page = (TREE / "docs/deploy/compose.md").read_text()
    [block] = re.findall(r"^   \(umask 077; cat >\.env\) <<END\n(.*?)^   END$", page, re.DOTALL | re.MULTILINE)
    names = {line.partition("=")[0].strip() for line in block.splitlines()}
    written = {line.strip().partition("=")[::2] for line in block.splitlines() if not re.search(r"[$…]", line)}
    given = dict.fromkeys(names, "x" * 32) | dict(written) | HOOK
    environ = environment_on(Platform.COMPOSE, image_environment() | given)
    findings = examine(Platform.COMPOSE, Deployment(read_elsewhere(environ), environ))
    assert {finding.what for finding in findings if finding.state != "ok"} == {"callers", "ALLOWED_ORIGINS"}


def test_the_api_believes_caddy_and_nobody_else() -> None:
    document = PROD.document(GIVEN)
    [config] = document["networks"]["inside"]["ipam"]["config"]
    [trusted] = settings_of(PROD.services(GIVEN)["api"]).trusted_proxies
    fixed = {
        (name, network, given["ipv4_address"])
        for name, service in document["services"].items()
        for network, given in networks_of(service).items()
        if "ipv4_address" in given
    }
    assert fixed == {("caddy", "inside", trusted)}
    assert ip_address(trusted) in ip_network(config["subnet"])
    assert ip_address(trusted) not in ip_network(config["ip_range"]), "no other container is given it"


def test_caddy_comes_to_the_api_by_the_network_on_which_it_is_believed() -> None:
    """Docker looks a name up on `edge` before `inside`: one that both have leads over `edge`."""
    services = PROD.services(GIVEN)
    name = services["caddy"]["environment"]["API_HOST"]
    found = {(service, network) for service in services for network in networks_known(services[service], service, name)}
    assert found == {("api", "inside")}


def networks_of(service: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a service is told about each of its networks."""
    given = service.get("networks", ["default"])
    return {network: (given[network] if isinstance(given, dict) else None) or {} for network in given}


def networks_known(service: dict[str, Any], own: str, name: str) -> list[str]:
    """The networks on which a service is found by a name: its own on all of them, an alias on some."""
    return [each for each, given in networks_of(service).items() if name in {own, *given.get("aliases", [])}]


def test_doctor_knows_what_the_file_wants_and_what_it_makes_of_it() -> None:
    assert PROD.wanted == set(GIVEN)
    elsewhere = dict.fromkeys(COMPOSE_SETS, "x") | GIVEN
    environments = [service["environment"] for _, service in PROD.of_ours(elsewhere)]
    for name, form in COMPOSE_SETS.items():
        found = {environment[name] for environment in environments if name in environment}
        assert found == {form.format_map(GIVEN)}, name
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]+)\}", PROD.text))
    assert defaults.items() >= COMPOSE_DEFAULTS.items()


def test_every_other_setting_is_handed_on() -> None:
    settings = known_variables() - OF_COMMANDS - OF_OPENTELEMETRY
    assert settings - PROD.variables == (COMPOSE_SETS.keys() | COMPOSE_IGNORES) & settings
    named = {name for _, service in PROD.of_ours(GIVEN) for name in service["environment"]}
    assert named & COMPOSE_IGNORES == set()


def test_ones_own_agent_is_run_by_every_program() -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", (TREE / "docs/deploy/compose.md").read_text(), re.DOTALL)
    services = yaml.safe_load(block)["services"]
    assert set(services) == {name for name, _ in PROD.of_ours(GIVEN)}
    assert all(service["build"].keys() >= {"context", "dockerfile"} for service in services.values())


def test_prometheus_finds_the_api_and_the_alertmanager_that_may_go_out() -> None:
    document, config = PROD.document(GIVEN), yaml.safe_load((TREE / "deploy/prometheus/prometheus.yml").read_text())
    services, networks = document["services"], document["networks"]
    [job] = config["scrape_configs"]
    [found] = job["dns_sd_configs"]
    [name] = found["names"]
    assert settings_of(PROD.services(GIVEN)[name]).port == found["port"] == PORT
    assert job["metrics_path"] in ROUTES
    [[target]] = [
        each["targets"] for manager in config["alerting"]["alertmanagers"] for each in manager["static_configs"]
    ]
    name, _, port = target.partition(":")
    assert f"http://127.0.0.1:{port}/-/healthy" in services[name]["healthcheck"]["test"]
    assert set(services[name]["networks"]) >= set(services["prometheus"]["networks"])
    assert any(not (networks[each] or {}).get("internal") for each in services[name]["networks"])


def test_agents_are_given_the_providers_keys_and_the_api_is_not() -> None:
    services = PROD.services(GIVEN)
    keys = {name.upper() for name in AgentSettings.model_fields if name.endswith("_key")}
    assert keys <= set(services["agents"]["environment"])
    assert not keys & set(services["api"]["environment"])
    assert "ADMIN_TOKEN" not in services["agents"]["environment"]
