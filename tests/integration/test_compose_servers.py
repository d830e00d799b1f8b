"""Redis, LiveKit and the Alertmanager, started with the very commands and configurations of the Compose files."""

from __future__ import annotations

import asyncio
import contextlib
import json
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import IO, Any

import httpx
import pytest
import redis
import yaml
from livekit import api

from tests.deploy.compose import TREE, ComposeFile
from tests.support import netns
from tests.support.servers import Place, Program, free_port, livekit_binary, missing, running, wait_until

LAPTOP, PROD = ComposeFile("docker-compose.celery.yml"), ComposeFile("docker-compose.prod.yml")
PASSWORD = "a-password-of-some-length"
KEY, SECRET = "greenroomtest", "a-secret-for-tests-of-32-chars-or-more"
GIVEN = {"REDIS_PASSWORD": PASSWORD, "LIVEKIT_API_KEY": KEY, "LIVEKIT_API_SECRET": SECRET}
ROOM = "compose"
PARTICIPANT = """
import asyncio, sys
from livekit import rtc

async def main():
    room, heard = rtc.Room(), asyncio.Event()
    room.on("data_received", lambda packet: heard.set())
    await room.connect(sys.argv[1], sys.argv[2])
    print("joined", flush=True)
    if sys.argv[3] == "speaks":
        await room.local_participant.publish_data(b"hello", reliable=True)
    await heard.wait()
    print("heard", flush=True)
    await room.local_participant.publish_data(b"hello to you", reliable=True)
    sys.stdin.read()
    await room.disconnect()

asyncio.run(main())
"""
"""Joins, listens, and answers once; the one that speaks begins. Stays until its standard input is closed."""
STUN = """
import socket, struct, sys

server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind((sys.argv[1], 3478))
print("ready", flush=True)
while True:
    asked, (host, port) = server.recvfrom(2048)
    address = int.from_bytes(socket.inet_aton(host)) ^ 0x2112A442
    found = struct.pack("!HHBBHI", 0x0020, 8, 0, 1, port ^ 0x2112, address)
    server.sendto(struct.pack("!HH", 0x0101, len(found)) + asked[4:20] + found, (host, port))
"""
"""Says to who asks from where it was asked, as RFC 8489 has it (XOR-MAPPED-ADDRESS)."""


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


def _token(identity: str) -> str:
    grants = api.VideoGrants(room_join=True, room=ROOM)
    return api.AccessToken(KEY, SECRET).with_identity(identity).with_grants(grants).to_jwt()


@contextlib.contextmanager
def _livekit(config: Mapping[str, Any], keys: str, folder: Path, place: Place) -> Iterator[Program]:
    argv = ["env", f"LIVEKIT_CONFIG={json.dumps(config)}", f"LIVEKIT_KEYS={keys}", livekit_binary()]
    with running(Program([*place.enter, *argv], folder / "livekit.log")) as server:
        yield server


@contextlib.contextmanager
def _program(place: Place, *words: str) -> Iterator[IO[str]]:
    """A Python program somewhere; yields what it prints."""
    argv = [*place.enter, sys.executable, *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, text=True, cwd=TREE) as process:
        assert process.stdout is not None
        try:
            yield process.stdout
        finally:
            process.terminate()


def _participant(place: Place, url: str, *, speaks: bool) -> contextlib.AbstractContextManager[IO[str]]:
    identity = "browser" if speaks else "agent"
    return _program(place, "-c", PARTICIPANT, url, _token(identity), "speaks" if speaks else "listens")


async def _says(lines: IO[str], line: str) -> None:
    async with asyncio.timeout(30):
        assert await asyncio.to_thread(lines.readline) == f"{line}\n"


async def _hear_each_other(
    stack: contextlib.ExitStack, agents_at: tuple[Place, str], browsers_at: tuple[Place, str]
) -> None:
    """An agent and a browser, each at its place and by its address of LiveKit."""
    agent = stack.enter_context(_participant(*agents_at, speaks=False))
    await _says(agent, "joined")
    browser = stack.enter_context(_participant(*browsers_at, speaks=True))
    await _says(browser, "joined")
    await _says(agent, "heard")
    await _says(browser, "heard")


async def test_on_a_laptop_the_browser_and_the_agent_both_reach_livekit(tmp_path: Path) -> None:
    """LiveKit, the agent and the laptop, each in a network of its own. The laptop knows 127.0.0.1 alone."""
    service = LAPTOP.services(GIVEN)["livekit"]
    config = yaml.safe_load(service["environment"]["LIVEKIT_CONFIG"])
    config["port"], config["rtc"]["tcp_port"], config["rtc"]["udp_port"] = free_port(), free_port(), free_port()
    port = config["port"]
    published = [f"{port}/tcp", f"{config['rtc']['tcp_port']}/tcp", f"{config['rtc']['udp_port']}/udp"]
    with netns.network(3) as network, contextlib.ExitStack() as stack:
        livekit, agents, laptop = network.machines
        stack.enter_context(_livekit(config, service["environment"]["LIVEKIT_KEYS"], tmp_path, livekit))
        await _room_is_made(f"http://{livekit.address}:{port}")
        netns.ip("-n", laptop.enter[-1], "route", "add", "blackhole", f"{livekit.address}/32")
        for place, here, there in ((network.hub, network.hub.address, livekit), (laptop, "127.0.0.1", network.hub)):
            words = ("-m", "tests.support.relay", here, there.address, *published)
            await _says(stack.enter_context(_program(place, *words)), "ready")

        await _hear_each_other(stack, (agents, f"ws://{livekit.address}:{port}"), (laptop, f"ws://127.0.0.1:{port}"))


async def test_in_production_livekit_learns_its_public_address_and_is_reached_there(tmp_path: Path) -> None:
    """LiveKit, an agent and a browser, each in a network of its own, where LiveKit's address is what STUN says."""
    service = PROD.services(GIVEN)["livekit"]
    config = yaml.safe_load(service["environment"]["LIVEKIT_CONFIG"])
    with netns.network(3) as network, contextlib.ExitStack() as stack:
        livekit, agents, elsewhere = network.machines
        stun = stack.enter_context(_program(network.hub, "-c", STUN, network.hub.address))
        await _says(stun, "ready")
        config["rtc"]["stun_servers"] = [f"{network.hub.address}:3478"]  # the file's are on the internet
        server = stack.enter_context(_livekit(config, service["environment"]["LIVEKIT_KEYS"], tmp_path, livekit))
        url = f"{livekit.address}:{config['port']}"
        await _room_is_made(f"http://{url}")

        await _hear_each_other(stack, (agents, f"ws://{url}"), (elsewhere, f"ws://{url}"))
        log = server.log.read_text()
        assert "using external IPs" in log
        assert f'"externalIP": "{livekit.address}"' in log


async def _room_is_made(url: str) -> None:
    """Rooms are made by Greenroom; wait until LiveKit does it."""
    async with api.LiveKitAPI(url, KEY, SECRET) as livekit, asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                await livekit.room.create_room(api.CreateRoomRequest(name=ROOM))
                return
            await asyncio.sleep(0.1)


# --- the Alertmanager ----------------------------------------------------------------------------------------

PATH = "/hook?key=a%20b&c=d"
"""An address as they are: with what the shell, or YAML, could take for its own."""


@pytest.fixture
def told() -> Iterator[tuple[str, queue.Queue[tuple[str, Any]]]]:
    """Somebody's webhook: its address, and what comes there."""
    came: queue.Queue[tuple[str, Any]] = queue.Queue()

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            came.put((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}{PATH}", came
        server.shutdown()
        thread.join()


@contextlib.contextmanager
def _alertmanager(folder: Path, webhook: str) -> Iterator[str]:
    """Its service's command, at an address and in a folder of the test's; yields its API's address."""
    binary = shutil.which("alertmanager") or shutil.which("prometheus-alertmanager")
    if binary is None:
        missing("Alertmanager", "apt-get install prometheus-alertmanager")
    service = PROD.services(GIVEN | {"ALERT_WEBHOOK_URL": webhook})["alertmanager"]
    at = f"127.0.0.1:{free_port()}"
    *shell, script = service["entrypoint"]
    for theirs, ours in (
        ("exec alertmanager", f"exec {binary} --web.listen-address={at}"),
        ("/tmp/alertmanager.yml", f"{folder}/alertmanager.yml"),
        ("--storage.path=/alertmanager", f"--storage.path={folder}/data"),
        ("group_wait: 10s", "group_wait: 100ms"),
    ):
        assert theirs in script
        script = script.replace(theirs, ours)
    settings = [f"{name}={value}" for name, value in service["environment"].items()]
    with running(Program(["env", *settings, *shell, script], folder / "alertmanager.log")):
        wait_until(lambda: _is_healthy(f"http://{at}"), what="the Alertmanager is healthy")
        yield f"http://{at}/api/v2"


def _is_healthy(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/-/healthy", trust_env=False).status_code == 200
    return False


def _alert(url: str) -> None:
    """As Prometheus says that an alert fires."""
    alert = {"labels": {"alertname": "PoolEmpty"}, "annotations": {"runbook_url": "docs/runbooks/PoolEmpty.md"}}
    assert httpx.post(f"{url}/alerts", json=[alert], trust_env=False).status_code == 200


def test_an_alert_reaches_the_webhook(tmp_path: Path, told: tuple[str, queue.Queue[tuple[str, Any]]]) -> None:
    webhook, came = told
    with _alertmanager(tmp_path, webhook) as url:
        _alert(url)
        path, message = came.get(timeout=20)
    assert path == PATH
    [alert] = message["alerts"]
    assert (alert["status"], alert["labels"]["alertname"]) == ("firing", "PoolEmpty")
    assert alert["annotations"]["runbook_url"] == "docs/runbooks/PoolEmpty.md"


def test_without_a_webhook_alerts_are_kept_for_who_asks(tmp_path: Path) -> None:
    with _alertmanager(tmp_path, "") as url:
        _alert(url)
        [alert] = httpx.get(f"{url}/alerts", trust_env=False).json()
    assert alert["labels"] == {"alertname": "PoolEmpty"}
    assert "Notify attempt failed" not in (tmp_path / "alertmanager.log").read_text()
