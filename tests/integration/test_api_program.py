"""The API as the program that supervisord and a container start."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, RedisServer, free_port, missing, wait_until


@contextlib.contextmanager
def _serving(redis: RedisServer, bind: str) -> Iterator[int]:
    """The program, listening there; yields its port."""
    port = free_port()
    own = {"REDIS_URL": redis.url, "LIVEKIT_API_KEY": LIVEKIT_KEY, "LIVEKIT_API_SECRET": LIVEKIT_SECRET}
    environment = {"PATH": os.environ["PATH"], **own, "BIND": bind, "PORT": str(port)}
    argv = [sys.executable, "-m", "orchestrator.api"]
    process = subprocess.Popen(argv, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield port
    finally:
        process.terminate()
        assert process.wait(15) in {0, -signal.SIGTERM}


def _alive(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health/live", timeout=2).is_success
    return False


@pytest.mark.parametrize("address", ["127.0.0.1", "[::1]"])
def test_bound_to_every_address_it_answers_by_both_families(redis_server: RedisServer, address: str) -> None:
    if not Path("/proc/net/if_inet6").exists():
        missing("IPv6", "a kernel with it")
    with _serving(redis_server, "::") as port:
        wait_until(lambda: _alive(f"http://{address}:{port}"), what=f"it answers at {address}")


def test_bound_to_one_address_it_answers_there_alone(redis_server: RedisServer) -> None:
    with _serving(redis_server, "127.0.0.1") as port:
        wait_until(lambda: _alive(f"http://127.0.0.1:{port}"), what="it answers")
        assert not _alive(f"http://127.0.0.2:{port}")
