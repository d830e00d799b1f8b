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
from orchestrator.cli.deploy_platforms import COMPOSE_DEFAULTS, COMPOSE_WANTS, Platform, environment_on
from orchestrator.settings import Settings

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
    | {"LIVEKIT_DOMAIN": "my-project.livekit.cloud", "ALERT_WEBHOOK_URL": "https://alerts.example.com"},
    Platform.RAILWAY: COMMON | {"BIND": "::", "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "3715"},
    Platform.KUBERNETES: COMMON | {"HOST_ID": socket.gethostname()},
    Platform.AWS: COMMON | {"DRAIN_TIMEOUT_S": "5", "MAX_CALL_S": "5"},
}


def deployment(platform: Platform, **changes: str) -> Deployment:
    """What a platform would be given, with these changes to what is well."""
    environ = environment_on(platform, WELL[platform] | changes)
    values = {name.lower(): value for name, value in environ.items() if name.lower() in Settings.model_fields}
    return Deployment(Settings.model_validate(values), environ)


@pytest.mark.parametrize("platform", Platform)
def test_where_all_is_well_nothing_is_to_be_mended(platform: Platform) -> None:
    findings = rules.examine(platform, deployment(platform))
    assert {finding.state for finding in findings} == {"ok"}
    assert len(findings) == len(RULES[platform])


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
        (rules.alerts_reach_somebody, Platform.COMPOSE, {"ALERT_WEBHOOK_URL": ""}, "warn", "nobody"),
        (rules.livekit_is_not_on_railway, Platform.RAILWAY, {"LIVEKIT_URL": "ws://livekit:7880"}, "bad", "UDP"),
        (rules.livekit_is_not_on_railway, Platform.RAILWAY, {"LIVEKIT_URL": "wss://l.railway.internal"}, "bad", "UDP"),
        (rules.binds_ipv6, Platform.RAILWAY, {"BIND": ""}, "bad", "0.0.0.0"),
        (rules.railway_waits, Platform.RAILWAY, {"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": ""}, "bad", "0 s"),
        (rules.railway_waits, Platform.RAILWAY, {"RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "3600"}, "bad", "3600 s"),
        (rules.kubernetes_waits, Platform.KUBERNETES, {"DRAIN_TIMEOUT_S": "600"}, "ok", "715"),
        (rules.redis_has_tls, Platform.AWS, {"REDIS_URL": "redis://cache:6379"}, "bad", "without TLS"),
        (rules.fargate_waits, Platform.AWS, {"DRAIN_TIMEOUT_S": "600"}, "warn", "715 s"),
        (rules.secrets_are_references, Platform.AWS, {}, "ok", "LIVEKIT_API_SECRET"),
    ],
)
def test_each_rule_finds_what_it_is_for(
    rule: Rule, platform: Platform, changes: dict[str, str], state: str, word: str
) -> None:
    assert rule in RULES[platform]
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


def test_a_setting_that_is_none_is_found_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / ".env").write_text("LIVEKIT_API_SECRET=short\n")
    with pytest.raises(typer.Exit):
        doctor.doctor(deploy=Platform.AWS, as_json=True)
    found = {each["what"]: each["found"] for each in json.loads(capsys.readouterr().out)}
    assert found == {"LIVEKIT_API_KEY": "is not set", "LIVEKIT_API_SECRET": "should have 32 characters at least"}


def test_the_settings_of_the_folder_are_looked_at(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"{name}={value}\n" for name, value in WELL[Platform.RAILWAY].items())
    (folder / ".env").write_text(text)
    doctor.doctor(deploy=Platform.RAILWAY, as_json=True)
    assert {each["state"] for each in json.loads(capsys.readouterr().out)} == {"ok"}


def test_what_compose_does_not_hand_on_is_no_finding(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = WELL[Platform.COMPOSE] | {"BIND": "127.0.0.1", "HOST_ID": "host-1", "FRONTEND_DIR": "/nowhere"}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    doctor.doctor(deploy=Platform.COMPOSE, as_json=True)
    assert {each["state"] for each in json.loads(capsys.readouterr().out)} == {"ok"}
