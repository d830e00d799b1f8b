"""Notices over the real Redis: its connection is killed, the server is gone and comes back, the API is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from orchestrator.adapters.redis_changes import ChangeListener, RedisChanges
from orchestrator.adapters.redis_client import Client, connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from tests.support.api import ADMIN, ADMIN_TOKEN, LIVEKIT_KEY, LIVEKIT_SECRET
from tests.support.records import beat, claimed, warm, warm_id
from tests.support.servers import Program, RedisServer, free_port, wait_until

TOP = Path(__file__).parents[2]


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RedisServer]:
    """A Redis that a test may stop."""
    server = RedisServer.create(tmp_path)
    server.start()
    yield server
    server.stop()


@pytest.fixture
async def client(own_server: RedisServer) -> AsyncIterator[Client]:
    client = connect(own_server.url, max_connections=2)
    yield client
    await client.aclose()


@pytest.fixture
async def changes(client: Client) -> AsyncIterator[RedisChanges]:
    changes = RedisChanges(client)
    yield changes
    await changes.aclose()


async def subscribers(client: Client) -> int:
    [(_, count)] = await client.pubsub_numsub("session-changed")
    return int(count)


async def hears(listener: ChangeListener, session_id: str) -> None:
    async with asyncio.timeout(10):
        while session_id not in listener.heard()[0]:
            await listener.wait(10)


async def subscribed(listener: ChangeListener) -> None:
    """The subscription stands (again)."""
    async with asyncio.timeout(15):
        while not listener.heard()[1]:
            await listener.wait(10)


async def test_one_connection_of_its_own(client: Client, changes: RedisChanges) -> None:
    """A bounded pool that streams hold connections of would have none for claims."""
    with changes.listen() as first, changes.listen(warm_id(1)), changes.listen(warm_id(2)):
        await subscribed(first)
        assert await subscribers(client) == 1
        await asyncio.gather(*(client.ping() for _ in range(8)))
        connections = await client.client_list()
        assert len(connections) == 3, "two of the pool's, and one"
    async with asyncio.timeout(10):
        while len(await client.client_list()) > 2:
            await asyncio.sleep(0.001)


async def test_it_is_over_when_it_is_closed(client: Client, changes: RedisChanges) -> None:
    with changes.listen() as listener:
        await subscribed(listener)
        await changes.aclose()
        async with asyncio.timeout(10):
            while await subscribers(client):
                await asyncio.sleep(0.001)


async def test_a_killed_connection_is_made_anew(client: Client, changes: RedisChanges) -> None:
    store = RedisStore(client)
    with changes.listen() as listener:
        for number in range(3):
            await subscribed(listener)
            await warm(store, number)
            await hears(listener, warm_id(number))
            await client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")


async def test_a_server_that_is_gone_and_comes_back(
    own_server: RedisServer, client: Client, changes: RedisChanges
) -> None:
    with changes.listen(warm_id(1)) as listener:
        await subscribed(listener)
        own_server.stop(signal.SIGKILL)
        await asyncio.sleep(0.1)  # some tries in vain
        own_server.start()
        await subscribed(listener)
        await warm(RedisStore(client), 1)
        await hears(listener, warm_id(1))


async def test_a_server_that_is_not_there_yet(own_server: RedisServer, client: Client) -> None:
    own_server.stop(signal.SIGKILL)
    changes = RedisChanges(client)
    with changes.listen() as listener:
        await listener.wait(0.1)
        assert listener.heard() == ([], False)
        own_server.start()
        await subscribed(listener)
    await changes.aclose()


# --- the whole program ---------------------------------------------------------------------------------


@pytest.fixture
def api_url(own_server: RedisServer, tmp_path: Path) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """The API as supervisord starts it."""
    port = free_port()
    settings = {
        "REDIS_URL": own_server.url, "LIVEKIT_URL": "ws://127.0.0.1:9", "LIVEKIT_API_KEY": LIVEKIT_KEY,
        "LIVEKIT_API_SECRET": LIVEKIT_SECRET, "ADMIN_TOKEN": ADMIN_TOKEN, "GREENROOM_HOME": str(tmp_path / "home"),
    }  # fmt: skip
    options = ["--loop", "uvloop", "--http", "httptools", "--no-access-log", "--timeout-graceful-shutdown", "5"]
    argv = [sys.executable, "-m", "uvicorn", "--factory", "orchestrator.api.app:create_app", "--port", str(port)]
    log = (tmp_path / "api.log").open("wb")
    process = subprocess.Popen([*argv, *options], cwd=TOP, env=os.environ | settings, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    program = Program(argv, tmp_path / "api.log", process)
    try:
        wait_until(lambda: _lives(url), timeout_s=60, what="the API answers")
        yield url, process
    finally:
        program.stop()
        log.close()


def _lives(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health/live").status_code == 200
    except httpx.TransportError:
        return False


async def test_streams_end_when_the_server_is_told_to_stop(
    api_url: tuple[str, subprocess.Popen[bytes]], client: Client, tmp_path: Path
) -> None:
    url, process = api_url
    await beat(RedisHosts(client))
    await warm(RedisStore(client), 1)
    session_id = (await claimed(RedisStore(client))).session_id
    async with httpx.AsyncClient(base_url=url, timeout=20) as http:
        follow = http.stream("GET", f"/api/session/{session_id}/events")
        async with follow as session, http.stream("GET", "/api/events", headers=ADMIN) as console:
            streams = [session.aiter_lines(), console.aiter_lines()]
            for lines in streams:
                await _until(lines, "event: ")
            await RedisStore(client).mark_active(session_id)
            await _until(streams[0], '"status":"active"')
            process.send_signal(signal.SIGTERM)
            told_at = time.monotonic()
            for lines in streams:
                async for _ in lines:
                    pass  # to a proper end: httpx raises where an answer breaks off
            assert time.monotonic() - told_at < 2.0
    assert await asyncio.to_thread(process.wait, 20) == -signal.SIGTERM
    log = (tmp_path / "api.log").read_text()
    assert "timeout graceful shutdown exceeded" not in log
    assert "Traceback" not in log


async def _until(lines: AsyncIterator[str], part: str) -> None:
    async with asyncio.timeout(10):
        async for line in lines:
            if part in line:
                return
    pytest.fail(f"the stream ended before {part}")
