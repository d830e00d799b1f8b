"""The worker and beat are started when Redis takes a write, and not before."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.support.servers import RedisServer, free_port, wait_until

BEGAN = "import os; print('began', os.getpid(), flush=True)"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    running = RedisServer.create(tmp_path / "redis").start()
    yield running
    running.stop()


def start(url: str, said: Path, *program: str) -> subprocess.Popen[bytes]:
    with said.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "orchestrator.cli.await_redis", *program],
            stdout=out,
            stderr=out,
            env={**os.environ, "REDIS_URL": url},
        )


def test_it_becomes_the_program_at_once(server: RedisServer, tmp_path: Path) -> None:
    process = start(server.url, tmp_path / "said", sys.executable, "-c", BEGAN)
    assert process.wait(30) == 0
    assert (tmp_path / "said").read_text() == f"began {process.pid}\n"


def test_it_waits_while_redis_is_out_of_memory(server: RedisServer, tmp_path: Path) -> None:
    said = tmp_path / "said"
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", "1")
        process = start(server.url, said, sys.executable, "-c", BEGAN)
        try:
            wait_until(lambda: b"waits for Redis" in said.read_bytes(), what="it says that it waits")
            assert process.poll() is None
            client.config_set("maxmemory", "0")
            assert process.wait(30) == 0
        finally:
            process.kill()
            process.wait()
    assert f"began {process.pid}" in said.read_text()


def test_it_is_ended_while_it_waits(tmp_path: Path) -> None:
    said = tmp_path / "said"
    process = start(f"redis://127.0.0.1:{free_port()}/0", said, sys.executable, "-c", BEGAN)
    wait_until(lambda: b"waits for Redis" in said.read_bytes(), what="it says that it waits")
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == -signal.SIGTERM


def test_what_is_wrong_with_the_address_is_the_programs_to_say(tmp_path: Path) -> None:
    process = start("redis://127.0.0.1:port/0", tmp_path / "said", sys.executable, "-c", BEGAN)
    assert process.wait(30) == 0
