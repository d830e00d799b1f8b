"""Starts a second at 16 callers, beside a bare FastAPI endpoint that pops a Redis set, in the same run.

Thousands of fake agents wait in the pool, and a fake host acknowledges each claim by its command stream, so that the
whole request path is real and only the agents are not. ``python -m benchmarks.start_throughput``
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.report import Report, percentile
from contract.states import SessionState
from orchestrator.adapters.redis_client import connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.records import AgentIdentity, AgentRecord, HostReply, HostReport
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, RedisServer, free_port, running

CALLERS = 16
STARTS = 8_000
HOST = "fake"


def main() -> None:
    """Bare, Greenroom, bare again (the machine's own drift shows), on one Redis."""
    with tempfile.TemporaryDirectory() as folder, running(RedisServer.create(Path(folder))) as server:
        assert isinstance(server, RedisServer)
        bare = [_measure_bare(server)]
        greenroom, times_ms = _measure_greenroom(server, Path(folder))
        bare.append(_measure_bare(server))
    report = Report("start_throughput", "python -m benchmarks.start_throughput")
    mean_bare = sum(bare) / len(bare)
    report.add("bare FastAPI endpoint that pops a set", mean_bare, "/s")
    report.add("POST /api/session/start with acknowledgement", greenroom, "/s")
    report.add("ratio", greenroom / mean_bare, "x", at_least=0.25)
    report.add("start at 16 callers, p50", percentile(times_ms, 0.5), "ms")
    report.add("start at 16 callers, p99", percentile(times_ms, 0.99), "ms")
    report.raw = {"bare_per_s": bare, "greenroom_per_s": greenroom, "starts": STARTS, "callers": CALLERS}
    report.publish()


def _measure_bare(server: RedisServer) -> float:
    asyncio.run(_fill_set(server.url))
    with _serving("benchmarks.bare_endpoint:create_app", {"REDIS_URL": server.url}) as url:
        rate, _ = uvloop.run(_call(f"{url}/claim"))
    return rate


async def _fill_set(url: str) -> None:
    client = connect(url)
    await client.flushall()
    await client.sadd("bare", *(secrets.token_hex(16) for _ in range(STARTS + CALLERS)))
    await client.aclose()


def _measure_greenroom(server: RedisServer, folder: Path) -> tuple[float, list[float]]:
    asyncio.run(_fill_pool(server.url))
    host = multiprocessing.get_context("spawn").Process(target=_fake_host, args=(server.url,), daemon=True)
    host.start()
    settings = {
        "REDIS_URL": server.url, "LIVEKIT_API_KEY": LIVEKIT_KEY, "LIVEKIT_API_SECRET": LIVEKIT_SECRET,
        "GREENROOM_HOME": str(folder), "MAX_BOTS": "10000", "LOG_LEVEL": "warning",
        # As by default, with room for all of one caller's starts.
        "START_LIMIT_USER": "20/minute", "START_LIMIT_IP": "10000/second",
    }  # fmt: skip
    try:
        with _serving("orchestrator.api.app:create_app", settings) as url:
            return uvloop.run(_call(f"{url}/api/session/start"))
    finally:
        host.terminate()
        host.join()


async def _fill_pool(url: str) -> None:
    client = connect(url)
    await client.flushall()
    store = RedisStore(client)
    for i in range(STARTS + CALLERS):
        identity = AgentIdentity(HOST, "boot", i + 1, i + 1)
        session_id = f"prewarm_{secrets.token_hex(16)}"
        await store.record_agent(AgentRecord(session_id, identity, SessionState.READY, time.time(), 0.1, None))
    await client.aclose()


def _fake_host(url: str) -> None:
    uvloop.run(_acknowledge(url))


async def _acknowledge(url: str) -> None:
    """Heartbeats, and an answer to each claim, as a host with instant agents would give."""
    hosts = RedisHosts(connect(url))
    report = HostReport(HOST, "boot", time.time(), 0, 0, 10_000, 1, 1, 0, "ready", "0", 0.0, 1)
    beating = asyncio.create_task(_beat(hosts, report))
    after = await hosts.position(1.0)
    while not beating.done():
        entries = await hosts.commands(HOST, after, 500)
        if entries:
            after = entries[-1][0]
            answers = (hosts.answer(c["reply"], HostReply(True)) for _, c in entries if c["type"] == "assign")
            await asyncio.gather(*answers)


async def _beat(hosts: RedisHosts, report: HostReport) -> None:
    while True:
        await hosts.heartbeat(report, 10.0)
        await asyncio.sleep(1.0)


@contextlib.contextmanager
def _serving(app: str, settings: dict[str, str]) -> Iterator[str]:
    port = free_port()
    argv = [
        sys.executable, "-m", "uvicorn", "--factory", app, "--port", str(port),
        "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning",
    ]  # fmt: skip
    process = subprocess.Popen(argv, env={**os.environ, **settings}, stderr=subprocess.DEVNULL)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


async def _call(url: str) -> tuple[float, list[float]]:
    """Starts a second, and each one's time in ms, of ``CALLERS`` callers that go on as soon as they are answered."""
    async with _session() as http:
        await _until_up(http, url)
        left = iter(range(STARTS - 1))
        times_ms: list[float] = []
        began = time.perf_counter()
        await asyncio.gather(*(_caller(http, url, left, times_ms) for _ in range(CALLERS)))
        return len(times_ms) / (time.perf_counter() - began), times_ms


async def _caller(http: aiohttp.ClientSession, url: str, left: Iterator[int], times_ms: list[float]) -> None:
    for i in left:
        began = time.perf_counter()
        async with http.post(url, json={"userId": f"u{i}", "userName": "Bench"}) as answer:
            body = await answer.json()
        times_ms.append((time.perf_counter() - began) * 1000)
        if not body["success"] or body["status"] != "ready":
            raise RuntimeError(f"unexpected answer: {body}")


@contextlib.asynccontextmanager
async def _session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CALLERS)) as http:
        yield http


async def _until_up(http: aiohttp.ClientSession, url: str) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError):
            async with http.post(url, json={"userId": "first"}) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise TimeoutError(url)


if __name__ == "__main__":
    main()
