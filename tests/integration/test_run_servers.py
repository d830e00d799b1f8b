"""The servers that ``greenroom run`` starts or finds, and ``greenroom doctor``, against real ones."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from orchestrator.cli import livekit_server, redis_server
from orchestrator.cli.console import CommandError
from orchestrator.cli.home import Home
from orchestrator.settings import Settings
from tests.support.servers import (
    LIVEKIT_KEY,
    LIVEKIT_SECRET,
    LiveKitServer,
    Program,
    RedisServer,
    free_port,
    livekit_binary,
    running,
    wait_until,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "my home")
    home.prepare()
    return home


def answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def wheel() -> Path:
    found = redis_server._from_wheel()
    assert found
    return found


@pytest.mark.parametrize("binary", [redis_server.find_binary, wheel])
def test_redis_runs_with_our_configuration(home: Home, binary: object, tmp_path: Path) -> None:
    assert callable(binary)
    port = free_port()
    redis_server.write(home, port)
    argv = [str(binary()), str(home.path / "redis" / "redis.conf")]
    with running(Program(argv, tmp_path / "log")), redis.Redis(port=port, decode_responses=True) as client:
        wait_until(lambda: answers(port), what="redis answers")
        redis_server.check(f"redis://127.0.0.1:{port}/0")
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("dir") == {"dir": str(home.path / "redis")}
        assert client.config_get("bind") == {"bind": "127.0.0.1"}


def test_a_redis_that_refuses_us_is_told_from_one_that_is_not_there(redis_server_with_password: str) -> None:
    with pytest.raises(CommandError, match=r"^REDIS_URL: .* refused its user or password"):
        redis_server.check(redis_server_with_password)
    with pytest.raises(CommandError, match=r"^REDIS_URL: no Redis answers at 127\.0\.0\.1"):
        redis_server.check(f"redis://127.0.0.1:{free_port()}/0")


@pytest.fixture
def redis_server_with_password(tmp_path: Path) -> Iterator[str]:
    server = RedisServer.create(tmp_path / "redis")
    server.argv += ["--requirepass", "right"]
    with running(Program(server.argv, tmp_path / "log")):
        wait_until(lambda: answers(server.port), what="redis answers")
        yield f"redis://:wrong@127.0.0.1:{server.port}/0"


def test_livekit_runs_with_our_configuration(home: Home, tmp_path: Path) -> None:
    port = free_port()
    settings = Settings(livekit_api_key=LIVEKIT_KEY, livekit_api_secret=LIVEKIT_SECRET)
    path = tmp_path / "livekit.yaml"
    path.write_text(livekit_server.config(settings, port))
    with running(Program([livekit_binary(), "--config", str(path)], tmp_path / "log")):
        wait_until(lambda: answers(port), what="livekit answers")
        livekit_server.check(f"ws://127.0.0.1:{port}", LIVEKIT_KEY, LIVEKIT_SECRET)
        with pytest.raises(CommandError, match=r"^LIVEKIT_API_KEY: .* refused the key or its secret"):
            livekit_server.check(f"ws://127.0.0.1:{port}", LIVEKIT_KEY, "another-secret-of-32-characters-at-least")


def test_a_livekit_that_is_not_there_is_one_line() -> None:
    with pytest.raises(CommandError, match=r"^LIVEKIT_URL: no LiveKit server answers"):
        livekit_server.check(f"ws://127.0.0.1:{free_port()}", LIVEKIT_KEY, LIVEKIT_SECRET)


def doctor(folder: Path, **environ: str) -> tuple[int, dict[str, str]]:
    answer = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli.main", "doctor", "--json"],
        cwd=folder,
        env=os.environ
        | {"PYTHONPATH": str(Path(__file__).parents[2]), "LIVEKIT_API_KEY": LIVEKIT_KEY, "PORT": str(free_port())}
        | {"LIVEKIT_API_SECRET": LIVEKIT_SECRET, "MAX_BOTS": "3"}
        | environ,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return answer.returncode, {item["what"]: item["state"] for item in json.loads(answer.stdout)}


def test_the_doctor_finds_all_well(tmp_path: Path, redis_server: RedisServer, livekit_server: LiveKitServer) -> None:
    code, found = doctor(tmp_path, REDIS_URL=redis_server.url, LIVEKIT_URL=livekit_server.url)
    assert (found["Redis"], found["Redis memory"], found["LiveKit"], found["ports"]) == ("ok", "ok", "ok", "ok")
    assert code == 0


def test_the_doctor_finds_what_is_ill(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        nowhere = {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0", "LIVEKIT_URL": f"ws://127.0.0.1:{free_port()}"}
        code, found = doctor(tmp_path, **nowhere, MAX_BOTS="9999", PORT=str(port))
    assert code == 1
    assert [what for what, state in found.items() if state == "bad"] == ["Redis", "LiveKit", "memory", "ports"]
