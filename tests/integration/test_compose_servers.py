"""Redis and LiveKit, started with the very commands and configurations of the Compose files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
import redis
import yaml
from livekit import api, rtc

from tests.deploy.compose import ComposeFile
from tests.support import netns
from tests.support.servers import Place, Program, free_port, livekit_binary, running, wait_until

LAPTOP, PROD = ComposeFile("docker-compose.celery.yml"), ComposeFile("docker-compose.prod.yml")
PASSWORD = "a-password-of-some-length"
KEY, SECRET = "greenroomtest", "a-secret-for-tests-of-32-chars-or-more"
GIVEN = {"REDIS_PASSWORD": PASSWORD, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}
ROOM = "compose"
AGENT = """
import asyncio, sys
from livekit import rtc

async def main():
    room, heard = rtc.Room(), asyncio.Event()
    room.on("data_received", lambda packet: heard.set())
    await room.connect(sys.argv[1], sys.argv[2])
    print("joined", flush=True)
    await heard.wait()
    await room.local_participant.publish_data(b"heard", reliable=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
"""Beside LiveKit, as agents are: joins, and answers what it hears."""


# --- Redis ---------------------------------------------------------------------------------------------------


def _redis(file: ComposeFile, folder: Path, port: int) -> Program:
    """Its service's command, on a port and in a folder of the test's."""
    service = file.services(GIVEN)["redis"]
    place = f"redis-server - --bind 127.0.0.1 --port {port}"
    command = [
        word.replace("redis-server -", place).replace("--dir /data", f"--dir {folder}") for word in service["command"]
    ]
    if command[0] == "redis-server":
        command += ["--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder)]
    settings = [f"{name}={value}" for name, value in service["environment"].items()]
    return Program(["env", *settings, *command], folder / "redis.log")


def _accepts(port: int, password: str | None) -> redis.Redis | None:
    with contextlib.suppress(redis.ConnectionError):
        client = redis.Redis("127.0.0.1", port, password=password, decode_responses=True)
        client.ping()
        return client
    return None


@pytest.mark.parametrize(("file", "password"), [(LAPTOP, None), (PROD, PASSWORD)], ids=["laptop", "prod"])
def test_redis_forgets_nothing(tmp_path: Path, file: ComposeFile, password: str | None) -> None:
    port = free_port()
    with running(_redis(file, tmp_path, port)):
        wait_until(lambda: _accepts(port, password), what="redis answers")
        client = _accepts(port, password)
        assert client is not None
        with client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("save") == {"save": ""}


def test_redis_in_production_wants_the_password_and_shows_it_to_nobody(tmp_path: Path) -> None:
    port = free_port()
    with running(_redis(PROD, tmp_path, port)) as server:
        wait_until(lambda: _accepts(port, PASSWORD), what="redis answers")
        with redis.Redis("127.0.0.1", port) as client, pytest.raises(redis.AuthenticationError):
            client.ping()
        assert server.process is not None
        command = Path(f"/proc/{server.process.pid}/cmdline").read_bytes()
        assert b"redis-server" in command
        assert PASSWORD.encode() not in command


# --- LiveKit -------------------------------------------------------------------------------------------------


class Forward(asyncio.DatagramProtocol):
    """A published UDP port, as Docker's own proxy does it: each caller has a socket of its own to the container."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._ways: dict[Any, asyncio.DatagramTransport] = {}
        self.transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        asyncio.get_running_loop().create_task(self._pass_on(data, addr))

    async def _pass_on(self, data: bytes, addr: Any) -> None:
        if addr not in self._ways:
            loop = asyncio.get_running_loop()
            way, _ = await loop.create_datagram_endpoint(lambda: Back(self, addr), remote_addr=self._target)
            self._ways[addr] = way
        self._ways[addr].sendto(data)

    def close(self) -> None:
        for way in (self.transport, *self._ways.values()):
            if way is not None:
                way.close()


class Back(asyncio.DatagramProtocol):
    """The container's answers to one caller."""

    def __init__(self, forward: Forward, addr: Any) -> None:
        self._forward = forward
        self._addr = addr

    def datagram_received(self, data: bytes, _: Any) -> None:
        if self._forward.transport is not None:
            self._forward.transport.sendto(data, self._addr)


def _token(identity: str) -> str:
    grants = api.VideoGrants(room_join=True, room=ROOM)
    return api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants).to_jwt()


@contextlib.contextmanager
def _livekit(config: Mapping[str, Any], keys: str, folder: Path, place: Place) -> Iterator[Program]:
    argv = ["env", f"LIVEKIT_CONFIG={json.dumps(config)}", f"LIVEKIT_KEYS={keys}", livekit_binary()]
    with running(Program([*place.enter, *argv], folder / "livekit.log")) as server:
        yield server


@contextlib.contextmanager
def _agent(url: str, place: Place) -> Iterator[subprocess.Popen[str]]:
    argv = [*place.enter, sys.executable, "-c", AGENT, url, _token("agent")]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as process:
        try:
            yield process
        finally:
            process.terminate()


async def test_on_a_laptop_browser_and_agent_both_reach_livekit_at_127_0_0_1(tmp_path: Path) -> None:
    """LiveKit and agents in one container's network, the browser outside of it, behind published ports."""
    service = LAPTOP.services(GIVEN)["livekit"]
    config = yaml.safe_load(service["environment"]["LIVEKIT_CONFIG"])
    config["port"], config["rtc"]["tcp_port"], udp = free_port(), free_port(), free_port()
    config["rtc"]["udp_port"] = udp
    with netns.network(1) as network:
        [inside] = network.machines
        with _livekit(config, service["environment"]["LIVEKIT_KEYS"], tmp_path, inside):
            outside_url = f"http://{inside.address}:{config['port']}"
            await _room_is_made(outside_url)
            with _agent(f"ws://127.0.0.1:{config['port']}", inside) as agent:
                assert agent.stdout is not None
                assert await asyncio.to_thread(agent.stdout.readline) == "joined\n"
                _, forward = await asyncio.get_running_loop().create_datagram_endpoint(
                    lambda: Forward((inside.address, udp)), local_addr=("127.0.0.1", udp)
                )
                try:
                    assert await _answer_to(outside_url.replace("http", "ws"), "browser") == b"heard"
                finally:
                    forward.close()


async def _room_is_made(url: str) -> None:
    """Rooms are made by Greenroom; wait until LiveKit does it."""
    async with api.LiveKitAPI(url, KEY, SECRET) as livekit, asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                await livekit.room.create_room(api.CreateRoomRequest(name=ROOM))
                return
            await asyncio.sleep(0.1)


async def _answer_to(url: str, identity: str) -> bytes:
    """Join, say something, and wait for what is answered."""
    room = rtc.Room()
    heard: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
    room.on("data_received", lambda packet: heard.done() or heard.set_result(packet.data))
    await room.connect(url, _token(identity))
    try:
        await room.local_participant.publish_data(b"hello", reliable=True)
        return await asyncio.wait_for(heard, 20)
    finally:
        await room.disconnect()
