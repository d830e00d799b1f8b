"""``greenroom doctor --deploy``: each rule finds what is missing, and nothing where all is well."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path

import pytest
import typer

from orchestrator.cli import deploy_checks as rules
from orchestrator.cli import doctor, provision
from orchestrator.cli.deploy_checks import RULES, Deployment, Rule
from orchestrator.cli.deploy_platforms import (
    COMPOSE_DEFAULTS,
    COMPOSE_WANTS,
    Platform,
    environment_in,
    environment_on,
)
from orchestrator.cli.serve import Program
from orchestrator.settings import Settings, read_elsewhere

COMMON = {
    "LIVEKIT_API_KEY": "key",
    "LIVEKIT_API_SECRET": "s" * 32,
    "REDIS_URL": "rediss://:a-password-of-some-length@cache.internal:6379/0",
    "LIVEKIT_URL": "wss://my-project.livekit.cloud",
    "ADMIN_TOKEN": "t" * 32,
    "API_KEYS": "k" * 16,
    "ALLOWED_ORIGINS": "https://www.example.com",
    "TRUSTED_PROXIES": "10.0.0.0/8",
    "ASSEMBLY_API_KEY": "a",
    "GROQ_API_KEY": "g",
    "INWORLD_API_KEY": "i",
}
WELL = {
    Platform.COMPOSE: COMMON
    | dict.fromkeys(COMPOSE_WANTS, "a-password-of-some-length")
    | {
        "DOMAIN": "voice.example.com",
        "LIVEKIT_DOMAIN": "my-project.livekit.cloud",
        "ACME_EMAIL": "ops@example.com",
        "ALERT_WEBHOOK_URL": "https://alerts.example.com",
        "GREENROOM_TAG": "6b2c13e",
    },
    Platform.RAILWAY: {name: value for name, value in COMMON.items() if name != "TRUSTED_PROXIES"}
    | {"BIND": "::", "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "3715"},
    Platform.KUBERNETES: COMMON | {"HOST_ID": socket.gethostname()},
    Platform.AWS: COMMON | {"DRAIN_TIMEOUT_S": "5", "MAX_CALL_S": "5"},
}


def deployment(platform: Platform, **changes: str) -> Deployment:
    """What programs there would have, with these changes to what is well. Of Compose's .env its file makes that."""
    given = WELL[platform] | changes
    environ = environment_on(platform, given) if platform is Platform.COMPOSE else environment_in(given)
    return Deployment(read_elsewhere(environ), environ)


@pytest.mark.parametrize("platform", Platform)
def test_where_all_is_well_nothing_is_to_be_mended(platform: Platform) -> None:
    findings = rules.examine(platform, deployment(platform))
    assert {finding.state for finding in findings} == {"ok"}
    assert len(findings) == len(RULES[platform].of(Program.ALL))


@pytest.mark.parametrize("platform", Platform)
def test_a_program_is_asked_for_what_it_reads(platform: Platform) -> None:
    """Beat has no token of operators, and Railway's API no time to drain."""
    of = {program: {*RULES[platform].of(program)} for program in Program}
    assert of[Program.BEAT] == of[Program.WORKER] == of[Program.API] & of[Program.HOST]
    assert rules.operators_may in of[Program.API] - of[Program.HOST]
    assert rules.drains_outlast_calls in of[Program.HOST] - of[Program.API]
    assert of[Program.API] | of[Program.HOST] <= of[Program.ALL]


@pytest.mark.parametrize(
    ("rule", "platform", "changes", "state", "word"),
    [
        (rules.redis_is_elsewhere, Platform.AWS, {"REDIS_URL": ""}, "bad", "not set"),
        (rules.redis_is_elsewhere, Platform.AWS, {"REDIS_URL": "redis://localhost"}, "bad", "this machine"),
        (rules.livekit_is_elsewhere, Platform.AWS, {"LIVEKIT_URL": ""}, "bad", "not set"),
        (rules.livekit_is_elsewhere, Platform.AWS, {"LIVEKIT_URL": "ws://127.0.0.1:7880"}, "bad", "this machine"),
        (
            rules.browsers_reach_livekit,
            Platform.KUBERNETES,
            {"LIVEKIT_URL": "ws://livekit:7880"},
            "bad",
            "ws://livekit",
        ),
        (rules.operators_may, Platform.RAILWAY, {"ADMIN_TOKEN": ""}, "bad", "not set"),
        (rules.callers_are_known, Platform.RAILWAY, {"API_KEYS": ""}, "warn", "anybody"),
        (rules.origins_are_named, Platform.RAILWAY, {"ALLOWED_ORIGINS": ""}, "warn", "not set"),
        (rules.origins_are_named, Platform.RAILWAY, {"ALLOWED_ORIGINS": "*"}, "bad", "any page"),
        (rules.origins_are_named, Platform.RAILWAY, {"ALLOWED_ORIGINS": "http://x.example"}, "bad", "no TLS"),
        (rules.proxies_are_trusted, Platform.AWS, {"TRUSTED_PROXIES": ""}, "warn", "not set"),
        (rules.voice_is_real, Platform.AWS, {"GROQ_API_KEY": ""}, "warn", "GROQ_API_KEY"),
        (rules.reachable_from_outside, Platform.AWS, {"BIND": "127.0.0.1"}, "bad", "127.0.0.1"),
        (rules.calls_outlive_sigterm, Platform.KUBERNETES, {"DRAIN_ON_TERM": "false"}, "bad", "ends calls"),
        *(
            (rules.drains_outlast_calls, platform, {"DRAIN_TIMEOUT_S": "3600", "MAX_CALL_S": "7200"}, "warn", "3600 s")
            for platform in Platform
        ),
        (rules.host_id_is_each_ones_own, Platform.KUBERNETES, {"HOST_ID": "host-1"}, "bad", "every container"),
        (rules.compose_variables_are_set, Platform.COMPOSE, {"DOMAIN": ""}, "bad", "DOMAIN"),
        (rules.redis_has_a_password, Platform.COMPOSE, {"REDIS_PASSWORD": "short"}, "bad", "no password"),
        (
            rules.browsers_come_to_the_agents,
            Platform.COMPOSE,
            {"LIVEKIT_DOMAIN": "livekit.example.com"},
            "bad",
            "browsers are sent to livekit.example.com",
        ),
        (rules.compose_waits, Platform.COMPOSE, {"DRAIN_TIMEOUT_S": "7200"}, "bad", "3720 s"),
        *(
            (rules.compose_values_will_do, Platform.COMPOSE, {name: value}, "bad", name)
            for name, value in (
                ("DOMAIN", "https://voice.example.com"),
                ("DOMAIN", "voice"),
                ("LIVEKIT_DOMAIN", "wss://livekit.example.com"),
                ("ACME_EMAIL", "ops"),
                ("GRAFANA_PASSWORD", "a"),
                ("GREENROOM_TAG", "of/mine"),
                ("HOSTS", "zero"),
                ("HOST_CPUS", "two"),
                ("HOST_MEMORY", "lots"),
                ("LIVEKIT_CPUS", "-1"),
                ("LIVEKIT_MEMORY", "x"),
                ("ALERT_WEBHOOK_URL", "foo"),
                ("ALERT_WEBHOOK_URL", "https://alerts.example.com/'a"),
                ("ALERT_WEBHOOK_URL", "https://…"),
            )
        ),
        (rules.images_have_a_name, Platform.COMPOSE, {"GREENROOM_TAG": ""}, "warn", "not set"),
        (rules.redis_fits_its_container, Platform.COMPOSE, {"REDIS_MEMORY": "lots"}, "bad", "no size"),
        (rules.redis_fits_its_container, Platform.COMPOSE, {"REDIS_MEMORY": "0"}, "bad", "no size"),
        (rules.redis_fits_its_container, Platform.COMPOSE, {"REDIS_MEMORY": "700mb"}, "bad", "2 times 700mb"),
        (rules.redis_fits_its_container, Platform.COMPOSE, {"REDIS_CONTAINER_MEMORY": "1gib"}, "bad", "no size"),
        (rules.redis_fits_its_container, Platform.COMPOSE, {"REDIS_MEMORY": "0.5gb"}, "bad", "no size"),
        (rules.redis_fits_its_container, Platform.COMPOSE, {"REDIS_CONTAINER_MEMORY": "1.5g"}, "ok", "enough"),
        (
            rules.redis_fits_its_container,
            Platform.COMPOSE,
            {"REDIS_MEMORY": "1gb", "REDIS_CONTAINER_MEMORY": "2g"},
            "ok",
            "enough",
        ),
        (rules.alerts_reach_somebody, Platform.COMPOSE, {"ALERT_WEBHOOK_URL": ""}, "warn", "nobody"),
        (rules.livekit_is_not_on_railway, Platform.RAILWAY, {"LIVEKIT_URL": "ws://livekit:7880"}, "bad", "UDP"),
        (rules.livekit_is_not_on_railway, Platform.RAILWAY, {"LIVEKIT_URL": "wss://l.railway.internal"}, "bad", "UDP"),
        (rules.binds_ipv6, Platform.RAILWAY, {"BIND": ""}, "bad", "0.0.0.0"),
        (rules.railway_waits, Platform.RAILWAY, {"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": ""}, "bad", "0 s"),
        (rules.railway_waits, Platform.RAILWAY, {"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "3600"}, "bad", "3600 s"),
        (rules.kubernetes_waits, Platform.KUBERNETES, {"DRAIN_TIMEOUT_S": "600"}, "ok", "715"),
        (rules.redis_has_tls, Platform.AWS, {"REDIS_URL": "redis://cache:6379"}, "bad", "without TLS"),
        (rules.secrets_are_references, Platform.AWS, {"JWT_SECRET": "s" * 32}, "warn", "JWT_SECRET beside"),
        (rules.fargate_waits, Platform.AWS, {"DRAIN_TIMEOUT_S": "600"}, "warn", "715 s"),
        (rules.secrets_are_references, Platform.AWS, {}, "ok", "LIVEKIT_API_SECRET"),
    ],
)
def test_each_rule_finds_what_it_is_for(
    rule: Rule, platform: Platform, changes: dict[str, str], state: str, word: str
) -> None:
    assert rule in RULES[platform].of(Program.ALL)
    finding = rule(deployment(platform, **changes))
    assert (finding.state, word in finding.found) == (state, True), finding
    assert finding.remedy or finding.state == "ok"


def test_a_stop_is_told_to_take_what_supervisord_gives_it() -> None:
    others = re.findall(r"^stopwaitsecs=(\d+)$", provision.config_source().read_text(), re.MULTILINE)
    assert len(others) == 3
    assert sum(map(int, others)) == rules.OTHERS_END_S
    assert rules.stop_takes_s(deployment(Platform.AWS, DRAIN_TIMEOUT_S="99.5").settings) == 85 + 100 + 30


def test_no_secret_is_shown() -> None:
    for platform in Platform:
        shown = repr(rules.examine(platform, deployment(platform, REDIS_PASSWORD="very-secret-word")))
        assert not any(secret in shown for secret in ("a-password-of", "t" * 32, "k" * 16, "s" * 32, "very-secret"))


def test_compose_makes_addresses_of_its_variables() -> None:
    environ = environment_on(Platform.COMPOSE, {"REDIS_PASSWORD": "abc", "DOMAIN": "x"})
    assert environ["REDIS_URL"] == "redis://:abc@redis:6379/0"
    assert "LIVEKIT_PUBLIC_URL" not in environ, "nothing is made of what is not there"


def test_railway_and_aws_are_told_by_their_files_where_redis_is_and_what_to_bind() -> None:
    """Also where doctor runs in the image, which says something else itself."""
    given = environment_in({"REDIS_URL": "redis://127.0.0.1:6390"})
    railway, aws = (environment_on(platform, given) for platform in (Platform.RAILWAY, Platform.AWS))
    assert railway["BIND"] == "::"
    assert not rules.redis_is_elsewhere(Deployment(_settings(railway), railway)).remedy
    assert rules.redis_has_tls(Deployment(_settings(aws), aws)).state == "ok"


def _settings(environ: dict[str, str]) -> Settings:
    return read_elsewhere(environ | {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s" * 32})


def test_aws_lets_an_operators_drain_last_as_long_as_a_call() -> None:
    assert environment_on(Platform.AWS, {"MAX_CALL_S": "5400"})["DRAIN_TIMEOUT_S"] == "5400"
    assert "DRAIN_TIMEOUT_S" not in environment_on(Platform.AWS, {})


def test_what_is_set_wins_over_what_the_image_says() -> None:
    environ = environment_on(Platform.KUBERNETES, {"BIND": "::", "DRAIN_ON_TERM": ""})
    assert environ["BIND"] == "::"
    assert environ["DRAIN_ON_TERM"] == "true"


def test_on_compose_what_is_set_counts_where_the_file_hands_it_on() -> None:
    given = {"LIVEKIT_URL": "wss://elsewhere", "DRAIN_TIMEOUT_S": "7200", "MAX_BOTS": "9", "DOMAIN": "x"}
    assert environment_on(Platform.COMPOSE, given).items() >= given.items()
    assert environment_on(Platform.COMPOSE, {})["LIVEKIT_URL"] == "ws://livekit:7880"


def test_on_compose_what_docker_would_not_use_is_not_judged() -> None:
    given = {
        "BIND": "127.0.0.1", "HOST_ID": "one", "REDIS_URL": "redis://elsewhere", "PORT": "1", "DRAIN_ON_TERM": "false",
        "LIVEKIT_PUBLIC_URL": "wss://elsewhere", "REDIS_PASSWORD": "abc", "LIVEKIT_DOMAIN": "livekit.example.com",
    }  # fmt: skip
    environ = environment_on(Platform.COMPOSE, given)
    assert environ["BIND"] == "0.0.0.0"
    assert environ["REDIS_URL"] == "redis://:abc@redis:6379/0"
    assert environ["LIVEKIT_PUBLIC_URL"] == "wss://livekit.example.com"
    assert (environ["PORT"], environ["DRAIN_ON_TERM"]) == ("8080", "true")
    assert "HOST_ID" not in environ
    del given["REDIS_PASSWORD"]
    assert "REDIS_URL" not in environment_on(Platform.COMPOSE, given), "Docker starts nothing"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that the command is called in, with nothing set in its environment."""
    given = {*COMPOSE_DEFAULTS, *(name for given in WELL.values() for name in given)}
    for name in given | {*map(str.upper, Settings.model_fields)}:
        monkeypatch.setenv(name, "")  # so that it is put back afterwards
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found_in(capsys: pytest.CaptureFixture[str]) -> dict[str, str]:
    return {each["what"]: each["found"] for each in json.loads(capsys.readouterr().out)}


def test_a_setting_that_is_none_is_found_first_and_the_rest_is_judged(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ".env").write_text("LIVEKIT_API_SECRET=short\nMAX_CALL_S=abc\nPREWARM_POOL_SIZE=9\nMAX_BOTS=8\n")
    with pytest.raises(typer.Exit):
        doctor.doctor(deploy=Platform.KUBERNETES, as_json=True)
    found = found_in(capsys)
    assert list(found.items())[:4] == [
        ("LIVEKIT_API_KEY", "is not set"),
        ("LIVEKIT_API_SECRET", "should have 32 characters at least"),
        ("MAX_CALL_S", "Input should be a valid number, unable to parse string as a number"),
        ("PREWARM_POOL_SIZE", "should be at most MAX_BOTS (8), not 9"),
    ]
    assert found["LIVEKIT_URL"] == "not set"
    assert found["terminationGracePeriodSeconds"] == "has to be 3715 at least, by DRAIN_TIMEOUT_S"


def test_what_is_wrong_with_several_names_all_of_them(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".env").write_text("JWT_AUDIENCE=x\n")
    with pytest.raises(typer.Exit):
        doctor.doctor(deploy=Platform.KUBERNETES, as_json=True)
    found = found_in(capsys)
    assert found["JWT_AUDIENCE, JWT_ISSUER and JWT_TENANT_CLAIM"].startswith("need JWT_SECRET or JWT_JWKS_URL")


def test_what_is_wrong_is_said_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".env").write_text("LIVEKIT_URL=my-project\n")
    with pytest.raises(typer.Exit):
        doctor.doctor(deploy=Platform.KUBERNETES, as_json=True)
    findings = json.loads(capsys.readouterr().out)
    [of_livekit] = [each["found"] for each in findings if each["what"] == "LIVEKIT_URL"]
    assert of_livekit == "should be an address such as wss://my-project.livekit.cloud"


@pytest.mark.parametrize("platform", Platform)
def test_a_file_in_the_image_is_not_looked_for_here(
    platform: Platform, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = WELL[platform] | {"AGENTS_FILE": "/etc/greenroom/agents.toml", "AGENT_FILTER": "sales"}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    doctor.doctor(deploy=platform, as_json=True)
    wrong = {each["what"] for each in json.loads(capsys.readouterr().out) if each["state"] != "ok"}
    assert wrong == ({"AGENTS_FILE", "AGENT_FILTER"} if platform is Platform.RAILWAY else set())


def test_a_programs_own_variables_are_all_that_counts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / ".env").write_text("LIVEKIT_URL=wss://my-project.livekit.cloud\n")
    for name in ("LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"):
        monkeypatch.setenv(name, COMMON[name])
    with pytest.raises(typer.Exit):
        doctor.doctor(deploy=Platform.RAILWAY, program=Program.BEAT, as_json=True)
    found = found_in(capsys)
    assert (found["REDIS_URL"], found["LIVEKIT_URL"]) == ("not set", "not set")
    assert found.keys() == {"LiveKit", "REDIS_URL", "LIVEKIT_URL"}


def test_a_program_is_looked_at_on_a_platform(folder: Path) -> None:
    with pytest.raises(typer.BadParameter, match="wants --deploy"):
        doctor.doctor(program=Program.API)


def test_the_settings_of_the_folder_are_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"{name}={value}\n" for name, value in WELL[Platform.RAILWAY].items())
    (folder / ".env").write_text(text)
    doctor.doctor(deploy=Platform.RAILWAY, as_json=True)
    assert {each["state"] for each in json.loads(capsys.readouterr().out)} == {"ok"}


def test_what_railways_file_does_not_hand_on_is_told_and_does_not_count(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Callers would be asked for nothing there."""
    given = WELL[Platform.RAILWAY] | {"API_KEYS": "", "JWT_SECRET": "s" * 32}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    doctor.doctor(deploy=Platform.RAILWAY, as_json=True)
    found = found_in(capsys)
    assert "hands it to no program" in found["JWT_SECRET"]
    assert found["callers"] == "anybody may start a session"


def test_aws_is_asked_for_every_key_that_tasks_take(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bare = {name: value for name, value in WELL[Platform.AWS].items() if "API_KEY" not in name or "LIVEKIT" in name}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in bare.items()))
    doctor.doctor(deploy=Platform.AWS, as_json=True)
    found = found_in(capsys)["Secrets Manager"]
    assert [name for name in ("API_KEYS", "GROQ_API_KEY", "LIVEKIT_API_SECRET") if name not in found] == []
    assert "REDIS_URL" not in found


def test_what_compose_does_not_hand_on_is_no_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = WELL[Platform.COMPOSE] | {"BIND": "127.0.0.1", "HOST_ID": "host-1", "FRONTEND_DIR": "/nowhere"}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    doctor.doctor(deploy=Platform.COMPOSE, as_json=True)
    assert {each["state"] for each in json.loads(capsys.readouterr().out)} == {"ok"}
