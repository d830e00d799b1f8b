"""The whole request path of a start with agents that are not there: API, Redis and acknowledgement are real.

Thousands of records wait in the pool, and a host in a process of its own acknowledges each claim by its command
stream. Hundreds of real agents a second are more than one machine can fork.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import multiprocessing
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import uvloop

from contract.states import SessionState
from orchestrator.adapters.redis_client import connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.records import AgentIdentity, AgentRecord, HostReply, HostReport
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, RedisServer, free_port

HOST = "fake"
AT_ONCE = 64
"""Records written side by side."""


@contextlib.contextmanager
def serving_bare(server: RedisServer, members: int) -> Iterator[str]:
    """The bare endpoint over a set of so many members; yields its address."""
    asyncio.run(_fill_set(server.url, members))
    with _serving("benchmarks.bare_endpoint:create_app", {"REDIS_URL": server.url}) as url:
        yield f"{url}/claim"


@contextlib.contextmanager
def serving_greenroom(server: RedisServer, folder: Path, agents: int) -> Iterator[str]:
    """The API over a pool of so many agents that are not there; yields the address of its start."""
    asyncio.run(_fill_pool(server.url, agents))
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
            yield f"{url}/api/session/start"
    finally:
        host.terminate()
        host.join()


async def start(http: aiohttp.ClientSession, url: str, number: int) -> None:
    """One start, of a user of its own; the same body to both.

    Raises:
        RuntimeError: the answer is not an agent that is ready.
    """
    async with http.post(url, json={"userId": f"u{number}", "userName": "Bench"}) as answer:
        body = await answer.json()
    if not body["success"] or body["status"] != "ready":
        raise RuntimeError(f"unexpected answer: {body}")


async def until_up(http: aiohttp.ClientSession, url: str) -> None:
    """Wait until a start is answered; it takes one agent.

    Raises:
        TimeoutError: it is not within half a minute.
    """
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with contextlib.suppress(aiohttp.ClientError):
            async with http.post(url, json={"userId": "first"}) as answer:
                if answer.status == 200:
                    return
        await asyncio.sleep(0.1)
    raise TimeoutError(url)


async def _fill_set(url: str, members: int) -> None:
    client = connect(url)
    await client.flushall()
    await client.sadd("bare", *(secrets.token_hex(16) for _ in range(members)))
    await client.aclose()


async def _fill_pool(url: str, agents: int) -> None:
    client = connect(url)
    await client.flushall()
    store = RedisStore(client)
    records = [_record(number) for number in range(agents)]
    for first in range(0, agents, AT_ONCE):
        await asyncio.gather(*(store.record_agent(record) for record in records[first : first + AT_ONCE]))
    await client.aclose()


def _record(number: int) -> AgentRecord:
    identity = AgentIdentity(HOST, "boot", number + 1, number + 1)
    return AgentRecord(f"prewarm_{secrets.token_hex(16)}", identity, SessionState.READY, time.time(), 0.1, None)


def _fake_host(url: str) -> None:
    gc.collect()
    gc.freeze()  # as the host does: a collection of all that was imported holds every acknowledgement up
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
