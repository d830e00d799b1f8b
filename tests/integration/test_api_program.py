"""The API as the program that supervisord and a container start."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pytest

from orchestrator.adapters.redis_client import connect
from orchestrator.adapters.redis_hosts import RedisHosts
from tests.support.api import acknowledging_host, api_under_test
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, RedisServer, free_port, missing, wait_until


@contextlib.contextmanager
def _serving(redis: RedisServer, bind: str, *, enter: Sequence[str] = (), **settings: str) -> Iterator[int]:
    """The program, listening there; yields its port. ``enter`` is put before its arguments."""
    port = free_port()
    own = {"REDIS_URL": redis.url, "LIVEKIT_API_KEY": LIVEKIT_KEY, "LIVEKIT_API_SECRET": LIVEKIT_SECRET}
    environment = {"PATH": os.environ["PATH"], **own, **settings, "BIND": bind, "PORT": str(port)}
    argv = [*enter, sys.executable, "-m", "orchestrator.api"]
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


def test_half_sent_requests_do_not_take_all_of_its_descriptors(redis_server: RedisServer) -> None:
    """It may open 512 files and raises its limit to that: 64 connections may be without a whole request."""
    usual = ("sh", "-c", 'ulimit -Sn 256 && ulimit -Hn 512 && exec "$@"', "sh")
    with contextlib.ExitStack() as stack:
        port = stack.enter_context(_serving(redis_server, "127.0.0.1", enter=usual))
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: _alive(url), what="it answers")
        for _ in range(600):
            half = stack.enter_context(socket.create_connection(("127.0.0.1", port), 20))
            with contextlib.suppress(ConnectionError):
                half.sendall(b"POST /api/session/start HTTP/1.1\r\nHost: ")
        assert _alive(url)
        lines = httpx.get(f"{url}/metrics").text.splitlines()
        [crowded] = [line for line in lines if line.startswith('greenroom_connections_closed_total{reason="crowded"}')]
        assert 600 - 64 <= float(crowded.split()[-1]) <= 600


async def test_two_beside_each_other_are_one(redis_server: RedisServer) -> None:
    """On one Redis: each agent is handed out once, a request's key counts at both, each knows the other's sessions."""
    client = connect(redis_server.url)
    await client.flushall()
    no_limits = {"START_LIMIT_IP": "0", "START_LIMIT_USER": "0"}
    async with contextlib.AsyncExitStack() as stack:
        pool = await stack.enter_async_context(api_under_test(client=client, hosts=RedisHosts))
        apis = []
        for _ in range(2):
            port = stack.enter_context(_serving(redis_server, "127.0.0.1", **no_limits))
            url = f"http://127.0.0.1:{port}"
            wait_until(lambda url=url: _alive(url), what="it answers")  # type: ignore[misc]
            apis.append(await stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=20)))
        waiting = await pool.warm(20)
        await stack.enter_async_context(acknowledging_host(pool.container.hosts))

        answers = await asyncio.gather(
            *(apis[n % 2].post("/api/session/start", json={"userId": f"u{n}"}) for n in range(30))
        )
        handed = [answer.json()["sessionId"] for answer in answers if answer.status_code == 200]
        queued = [answer.json() for answer in answers if answer.status_code == 202]
        assert sorted(handed) == sorted(waiting), "each agent once"
        assert len({session["sessionId"] for session in queued}) == 10
        assert sorted(session["queuePosition"] for session in queued) == list(range(1, 11)), "one queue"

        again = await asyncio.gather(
            *(api.post("/api/session/start", json={"userId": "k"}, headers={"Idempotency-Key": "k"}) for api in apis)
        )
        assert len({answer.json()["sessionId"] for answer in again}) == 1

        session_id = queued[0]["sessionId"]
        first, second = apis
        seen = await second.get(f"/api/session/{session_id}")
        assert seen.json() == (await first.get(f"/api/session/{session_id}")).json()
        async with second.stream("GET", f"/api/session/{session_id}/events") as events:
            lines = events.aiter_lines()
            await anext(line async for line in lines if line.startswith("data:"))
            assert (await first.delete(f"/api/session/{session_id}")).status_code == 200
            await anext(line async for line in lines if '"ended"' in line)
