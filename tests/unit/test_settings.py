"""The settings: what is promised when nothing is set, and a clear line for each wrong value."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from orchestrator.agent_environment import agent_environment
from orchestrator.domain.limits import Rate
from orchestrator.settings import Settings, SettingsError, load_settings

KEY = "k" * 16
REQUIRED = {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s" * 32}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a setting needs: nothing of the machine that the tests run on."""
    names = {name.upper() for name in Settings.model_fields} | {"RAILWAY_REPLICA_ID"}
    for name in [name for name in os.environ if name.upper() in names]:
        monkeypatch.delenv(name)
    for name, value in REQUIRED.items():
        monkeypatch.setenv(name, value)


def test_defaults() -> None:
    settings = load_settings()
    assert settings.port == 8080
    assert settings.max_bots == 50
    assert settings.prewarm_pool_size == 3
    assert settings.admin_token is None
    assert settings.api_keys == ()
    assert settings.allowed_origins == ()
    assert settings.allow_client_prompts is False
    assert settings.bind == "127.0.0.1", "loopback unless told otherwise"
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.livekit_url == settings.public_livekit_url == "ws://127.0.0.1:7880"
    assert settings.spawn_concurrency == 4
    assert settings.inactive_timeout_s == 1800
    assert settings.session_record_s == 86_400
    assert settings.ack_timeout_s == 0.25
    assert settings.host_id == socket.gethostname()
    assert settings.frontend.parts[-2:] == ("frontend", "dist")
    assert (settings.frontend.parents[1] / "supervisord.conf").exists(), "beside the other files at the top"


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    values = {
        "PORT": "9000",
        "MAX_BOTS": "7",
        "PREWARM_POOL_SIZE": "0",
        "API_KEYS": f" {KEY}a , {KEY}b,,",
        "ALLOWED_ORIGINS": "https://x.example",
        "ADMIN_TOKEN": KEY,
        "FRONTEND_DIR": str(tmp_path / "dist"),
        "LIVEKIT_PUBLIC_URL": "wss://x.example",
        "GREENROOM_HOME": str(tmp_path),
        "RAILWAY_REPLICA_ID": "replica-1",
        "RECONNECT_GRACE_S": "0",
        "AGENT_ORPHAN_S": "5",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.port, settings.max_bots, settings.prewarm_pool_size) == (9000, 7, 0)
    assert settings.api_keys == (f"{KEY}a", f"{KEY}b")
    assert settings.frontend == tmp_path / "dist"
    assert settings.allowed_origins == ("https://x.example",)
    assert settings.admin_token is not None
    assert settings.admin_token.get_secret_value() == KEY
    assert settings.public_livekit_url == "wss://x.example"
    assert settings.host_socket == tmp_path / "host" / "host.sock"
    assert settings.host_id == "replica-1"
    assert settings.agent_limits.orphan_s == 5
    assert settings.agent_limits.reconnect_grace_s == 0


@pytest.mark.parametrize(("cap", "most"), [("", 25), ("0", 0), ("50", 50)])
def test_how_far_arrivals_raise_the_pool(monkeypatch: pytest.MonkeyPatch, cap: str, most: int) -> None:
    monkeypatch.setenv("POOL_CAP", cap)
    assert load_settings().most_by_demand == most


def test_host_id_comes_before_the_replica_id(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAILWAY_REPLICA_ID", "replica-1")
    monkeypatch.setenv("HOST_ID", "mine")
    assert load_settings().host_id == "mine"


def test_an_empty_value_is_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "")
    monkeypatch.setenv("ADMIN_TOKEN", "")
    assert load_settings().port == 8080
    assert load_settings().admin_token is None


WRONG = [
    ("PORT", "0"),
    ("PORT", "65536"),
    ("PORT", "eighty"),
    ("MAX_BOTS", "0"),
    ("MAX_BOTS", "-1"),
    ("MAX_BOTS", "10001"),
    ("MAX_BOTS", "1.5"),
    ("PREWARM_POOL_SIZE", "-1"),
    ("PREWARM_POOL_SIZE", "51"),
    ("POOL_CAP", "-1"),
    ("POOL_CAP", "51"),
    ("POOL_SCALE_DOWN_S", "-1"),
    ("POOL_SCALE_DOWN_S", "3601"),
    ("MAX_QUEUE", "-1"),
    ("SPAWN_CONCURRENCY", "0"),
    ("SPAWN_CONCURRENCY", "65"),
    ("SPAWN_TIMEOUT_S", "0"),
    ("SPAWN_TIMEOUT_S", "61"),
    ("AGENT_ENV", "LIVEKIT_API_SECRET"),
    ("AGENT_ENV", "OPENAI_*,jwt_secret"),
    ("AGENT_ENV", "A B"),
    ("AGENT_MEMORY_MB", "255"),
    ("AGENT_OPEN_FILES", "63"),
    ("AGENT_PROCESSES", "0"),
    ("AGENT_NICE", "-1"),
    ("AGENT_NICE", "20"),
    ("SPAWN_BREAKER_FAILURES", "0"),
    ("SPAWN_BREAKER_MAX_OPEN_S", "0"),
    ("SPAWN_BREAKER_MAX_OPEN_S", "201"),
    ("WARM_MAX_AGE_S", "0"),
    ("WARM_MAX_AGE_S", "700000"),
    ("ASSIGN_LEASE_S", "0"),
    ("ASSIGN_LEASE_S", "inf"),
    ("RECONNECT_GRACE_S", "-1"),
    ("INACTIVE_TIMEOUT_S", "0"),
    ("MAX_CALL_S", "604801"),
    ("AGENT_ORPHAN_S", "nan"),
    ("SESSION_RECORD_S", "0"),
    ("SESSION_RECORD_S", "inf"),
    ("TOKEN_TTL_S", "59"),
    ("REDIS_URL", "127.0.0.1:6379"),
    ("REDIS_URL", "http://x"),
    ("REDIS_URL", "redis://"),
    ("LIVEKIT_URL", "livekit.cloud"),
    ("LIVEKIT_URL", "ftp://x"),
    ("LIVEKIT_PUBLIC_URL", "x"),
    ("LIVEKIT_API_SECRET", "short"),
    ("ADMIN_TOKEN", KEY[1:]),
    ("API_KEYS", KEY[1:]),
    ("API_KEYS", f"{KEY},{KEY[1:]}"),
    ("JWT_SECRET", "s" * 31),
    ("HOST_ID", "a host"),
    ("HOST_ID", "x" * 65),
    ("AGENT", "no-callable"),
    ("AGENT", "module:"),
    ("ZYGOTE_MODULE", "../zygote"),
    ("HOST_LEASE_S", "0"),
    ("HOST_LEASE_S", "1.9"),
    ("HOST_LOST_S", "0"),
    ("HOST_LOST_S", "4.9"),
    ("MAX_REPLACEMENTS", "-1"),
    ("HEARTBEAT_S", "0"),
    ("HEARTBEAT_S", "3"),
    ("RECONCILE_S", "0"),
    ("KILL_GRACE_S", "0"),
    ("LOG_MAX_BYTES", "10"),
    ("ACK_TIMEOUT_S", "0"),
    ("ACK_TIMEOUT_S", "2"),
    ("CLAIM_TRIES", "0"),
    ("CLAIM_TRIES", "33"),
    ("LOG_FORMAT", "xml"),
    ("LOG_LEVEL", "loud"),
    ("ALLOW_CLIENT_PROMPTS", "perhaps"),
]


@pytest.mark.parametrize(("name", "value"), WRONG, ids=[f"{name}={value[:12]}" for name, value in WRONG])
def test_a_wrong_value_stops_with_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    message = str(raised.value)
    assert name in message
    assert "\n" not in message, "one line for one wrong value"
    assert "pydantic" not in message


@pytest.mark.parametrize("name", sorted(REQUIRED))
def test_a_missing_one_is_named_with_the_remedy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.delenv(name)
    with pytest.raises(SettingsError, match=f"{name}: is not set.*make run"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("AGENT", "nocolon", "should be a module, a colon and a callable in it, such as my_agent:build, not 'nocolon'"),
        ("HOST_ID", "a b", "should be 1 to 64 letters, digits, dots, underscores and hyphens, not 'a b'"),
        ("ZYGOTE_MODULE", "a-b", "should be a Python module's name, such as agent.zygote, not 'a-b'"),
        ("ADMIN_TOKEN", "short", "should have 16 characters at least"),
        ("JWT_SECRET", "short", "should have 32 characters at least"),
        ("API_KEYS", "short", "each key should have 16 characters at least"),
        (
            "START_LIMIT_USER",
            "20 a minute",
            "should be 0 for no limit, or a number from 1 to 10000, a slash, and second, minute, hour or day,"
            " such as 20/minute, not '20 a minute'",
        ),
        ("TRUSTED_PROXIES", "10.0.0.1/8", "should be addresses or networks such as 10.0.0.0/8, not '10.0.0.1/8'"),
    ],
)
def test_what_it_should_be_is_said_in_words(monkeypatch: pytest.MonkeyPatch, name: str, value: str, words: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert str(raised.value) == f"{name}: {words}"


def test_the_shortest_secrets_that_are_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ADMIN_TOKEN": KEY, "API_KEYS": KEY, "JWT_SECRET": "s" * 32}.items():
        monkeypatch.setenv(name, value)
    assert load_settings().api_keys == (KEY,)


def test_all_wrong_ones_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "x")
    monkeypatch.setenv("MAX_BOTS", "x")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert [line.split(":")[0] for line in str(raised.value).splitlines()] == ["PORT", "MAX_BOTS"]


def test_a_wrong_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_API_SECRET", "hunter2")
    monkeypatch.setenv("ADMIN_TOKEN", "hunter3")
    monkeypatch.setenv("API_KEYS", "hunter4")
    with pytest.raises(SettingsError) as raised:
        load_settings()
    assert "hunter" not in str(raised.value)


def test_secrets_are_not_shown() -> None:
    assert "s" * 32 not in repr(load_settings())


def test_agents_inherit_what_they_need_and_nothing_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("REDIS_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "ADMIN_TOKEN", "API_KEYS", "JWT_SECRET")
    given = ("GROQ_API_KEY", "AGENT_TONE", "LC_TIME", "https_proxy", "SSL_CERT_FILE", "PYTHONPATH", "TZ")
    for name in (*secrets, *given, "DATABASE_URL", "OPENAI_API_KEY", "OPENAI_ORG"):
        monkeypatch.setenv(name, "x")
    inherited = agent_environment()
    assert set(given) | {"PATH"} <= set(inherited)
    assert not {*secrets, "DATABASE_URL", "OPENAI_API_KEY"} & set(inherited)
    assert {"OPENAI_API_KEY", "OPENAI_ORG"} <= set(agent_environment(("OPENAI_*",)))
    everything = agent_environment(("*",))
    assert "DATABASE_URL" in everything
    assert not set(secrets) & set(everything), "none of ours, whatever was asked for"


def test_a_home_whose_socket_has_no_room_is_named() -> None:
    with pytest.raises(SettingsError, match="GREENROOM_HOME should be shorter"):
        load_settings(livekit_api_key="key", livekit_api_secret="s" * 32, greenroom_home=Path("/tmp") / ("x" * 100))


def test_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    assert (load_settings().start_limit_user, load_settings().start_limit_tenant) == (Rate(20, 60), Rate(100, 60))
    monkeypatch.setenv("START_LIMIT_USER", "5/second")
    monkeypatch.setenv("START_LIMIT_TENANT", "0")
    assert (load_settings().start_limit_user, load_settings().start_limit_tenant) == (Rate(5, 1), None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"JWT_SECRET": "s" * 32, "JWT_JWKS_URL": "https://issuer.example/jwks"}, "exclude each other"),
        ({"JWT_AUDIENCE": "greenroom"}, "need JWT_SECRET or JWT_JWKS_URL"),
        ({"JWT_ISSUER": "us"}, "need JWT_SECRET or JWT_JWKS_URL"),
        ({"JWT_TENANT_CLAIM": "org"}, "need JWT_SECRET or JWT_JWKS_URL"),
    ],
)
def test_settings_of_tokens_that_would_not_do_what_they_say(
    monkeypatch: pytest.MonkeyPatch, given: dict[str, str], words: str
) -> None:
    """An audience without a key would leave the API open to everybody."""
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=words):
        load_settings()
