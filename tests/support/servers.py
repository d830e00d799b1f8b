"""Real servers for tests: Redis and LiveKit on free ports, ended by the fixture that started them."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import pytest
import redis

LIVEKIT_KEY = "greenroomtest"
LIVEKIT_SECRET = "a-secret-for-tests-of-32-chars-or-more"


_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_PORTS = range(20_000 + _WORKER * 3000, 23_000 + _WORKER * 3000)
"""Below those that the kernel gives to outgoing connections: one of these could take a port in between. Tests that run
side by side have a range each, so that none takes what another was about to."""
_given: set[int] = set()


def free_port(in_a_row: int = 1) -> int:
    """The first of so many TCP ports in a row that nobody uses, and that were not given before."""
    while True:
        ports = range(first := random.choice(_PORTS), first + in_a_row)
        if _given.isdisjoint(ports) and all(_is_free(port) for port in ports):
            _given.update(ports)
            return first


def _is_free(port: int) -> bool:
    with socket.socket() as sock, contextlib.suppress(OSError):
        sock.bind(("127.0.0.1", port))
        return True
    return False


def wait_until(
    condition: Callable[[], object], *, timeout_s: float = 20.0, what: str = "condition", every_s: float = 0.05
) -> None:
    """Return once ``condition()`` is true; fail the test when it is not within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(every_s)
    pytest.fail(f"not within {timeout_s} s: {what}")


def missing(what: str, remedy: str) -> None:
    """A missing service skips on a laptop and fails in CI."""
    message = f"{what} is missing: {remedy}"
    if os.environ.get("CI"):
        pytest.fail(message)
    pytest.skip(message)


@dataclass(frozen=True)
class Place:
    """Where programs run: this machine, or one of a ``netns.Network``."""

    address: str = "127.0.0.1"
    interface: str = "lo"
    enter: tuple[str, ...] = ()
    """What is put before a program's arguments, so that it runs there."""


HERE = Place()


@dataclass
class Program:
    """A started server process."""

    argv: list[str]
    log: Path
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        with self.log.open("ab") as out:
            # In a session of its own: Ctrl-C is for who started it, and who ends what needs it first.
            self.process = subprocess.Popen(
                self.argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True
            )
        return self

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGCONT)
        self.process.send_signal(number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(10)
            return
        self.process.kill()
        self.process.wait(10)


@dataclass
class RedisServer(Program):
    port: int = 0
    folder: Path = field(default_factory=Path)
    place: Place = HERE

    @classmethod
    def create(cls, folder: Path, *, aof: bool = False, place: Place = HERE) -> RedisServer:
        binary = shutil.which("redis-server")
        if binary is None:
            missing("redis-server", "apt-get install redis-server")
        folder.mkdir(parents=True, exist_ok=True)
        port = free_port()
        argv = [*place.enter, str(binary), "--port", str(port), "--bind", place.address, "--protected-mode", "no"]
        argv += ["--save", "", "--dir", str(folder), "--appendonly", "yes" if aof else "no"]
        argv += ["--maxmemory-policy", "noeviction"]
        return cls(argv, folder / "redis.log", port=port, folder=folder, place=place)

    @property
    def url(self) -> str:
        return f"redis://{self.place.address}:{self.port}/0"

    def start(self) -> Self:
        super().start()
        wait_until(self._answers, what="redis-server answers")
        return self

    def _answers(self) -> bool:
        with (
            redis.Redis(self.place.address, self.port, socket_timeout=1, retry=None) as client,
            contextlib.suppress(redis.RedisError),
        ):
            return bool(client.ping())
        return False


def livekit_binary() -> str:
    """The server from the path, else the one that ``make run`` built into its cache."""
    found = shutil.which("livekit-server")
    if found:
        return found
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    built = cache / "greenroom" / "livekit-server-1.11.0" / "livekit-server"
    if not built.exists():
        missing("livekit-server", "run `greenroom fetch-livekit`, which builds it with Go")
    return str(built)


@dataclass
class LiveKitServer(Program):
    port: int = 0
    place: Place = HERE

    @classmethod
    def create(cls, folder: Path, *, extra_config: str = "", place: Place = HERE) -> LiveKitServer:
        folder.mkdir(parents=True, exist_ok=True)
        port, tcp, udp = free_port(), free_port(), free_port()
        config = f"""
port: {port}
bind_addresses: ["{place.address}"]
rtc:
  tcp_port: {tcp}
  udp_port: {udp}
  use_external_ip: false
  node_ip: {place.address}
  interfaces:
    includes: [{place.interface}]
  enable_loopback_candidate: true
keys:
  {LIVEKIT_KEY}: {LIVEKIT_SECRET}
{extra_config}
"""
        path = folder / "livekit.yaml"
        path.write_text(config)
        argv = [*place.enter, livekit_binary(), "--config", str(path)]
        return cls(argv, folder / "livekit.log", port=port, place=place)

    @property
    def url(self) -> str:
        return f"ws://{self.place.address}:{self.port}"

    def start(self) -> Self:
        super().start()
        wait_until(self._answers, what="livekit-server answers")
        return self

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection((self.place.address, self.port), 0.2):
            return True
        return False


@contextlib.contextmanager
def running(program: Program) -> Iterator[Program]:
    """Start, yield, and end it whatever happened."""
    program.start()
    try:
        yield program
    finally:
        program.stop()
