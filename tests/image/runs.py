"""Programs of an image that really run: against a Redis and a LiveKit of this machine, with a caller who talks."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import redis
from livekit import api

from tests.image.buildah import Container
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer, RedisServer, free_port, wait_until

READY_S = 90.0
TALK_S = 120.0


@dataclass
class Running:
    """One started command of a container."""

    process: subprocess.Popen[bytes]
    log: Path

    def inside(self) -> list[psutil.Process]:
        """Its processes, without buildah's own around them."""
        with contextlib.suppress(psutil.NoSuchProcess):
            below = psutil.Process(self.process.pid).children(recursive=True)
            return [process for process in below if not _is_around(process)]
        return []

    @property
    def first(self) -> psutil.Process:
        """What a container would have as its PID 1."""
        return self.inside()[0]

    def stop(self, timeout_s: float) -> tuple[int, float]:
        """End it as a platform does, with SIGTERM to the first process; returns its exit code and the seconds.

        Raises:
            subprocess.TimeoutExpired: a platform would have killed it.
        """
        started = time.monotonic()
        self.first.terminate()
        return self.process.wait(timeout_s), time.monotonic() - started

    def kill(self) -> None:
        """End what is left of it, whatever happened."""
        for process in [*self.inside(), psutil.Process(self.process.pid)] if self.process.poll() is None else []:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self.process.wait(10)

    def tail(self) -> str:
        """The end of what it printed."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])


def _is_around(process: psutil.Process) -> bool:
    """Whether it is buildah's, or of the pipe for the standard output, or gone."""
    try:
        program = Path((process.cmdline() or ["cat"])[0]).name
    except psutil.NoSuchProcess:
        return True
    return program in {"bash", "cat"} or program.startswith("buildah")


@dataclass(frozen=True)
class Place:
    """Where a container's programs find what is theirs; one port for the API."""

    container: Container
    redis: RedisServer
    livekit: LiveKitServer
    folder: Path
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def environment(self, home: str) -> dict[str, str]:
        """The settings that a platform would give."""
        return {
            "REDIS_URL": self.redis.url,
            "LIVEKIT_URL": self.livekit.url,
            "LIVEKIT_API_KEY": LIVEKIT_KEY,
            "LIVEKIT_API_SECRET": LIVEKIT_SECRET,
            "GREENROOM_HOME": f"/var/lib/greenroom/{home}",
            "BIND": "127.0.0.1",
            "PORT": str(self.port),
            "PREWARM_POOL_SIZE": "2",
        }

    @contextlib.contextmanager
    def running(self, *programs: str, **changes: str) -> Iterator[Running]:
        """Start the image with these arguments; what is left of it at the end is killed."""
        home = "-".join(programs)
        environment = self.environment(home) | changes
        log = self.folder / f"{home}.log"
        begun = Running(self.container.start(self.container.command(*programs), log, **environment), log)
        try:
            yield begun
        except BaseException:
            print(begun.tail(), file=sys.stderr)
            raise
        finally:
            begun.kill()

    def is_healthy(self, *programs: str) -> bool:
        """Ask as the image's health check does, in the container of these programs."""
        home = "-".join(programs)
        check = self.container.image.config["Healthcheck"]["Test"][1:]
        asked = self.container.start(check, self.folder / "healthy.log", **self.environment(home))
        return asked.wait(30) == 0

    def wait_ready(self) -> None:
        """Wait until starts can be served, and an agent waits."""
        wait_until(self._is_ready, timeout_s=READY_S, every_s=0.1, what="the API is ready and the pool has an agent")

    def _is_ready(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            ready = httpx.get(f"{self.url}/health/ready", timeout=3, trust_env=False).status_code == 200
            return ready and bool(self.store().scard("pool:ready"))
        return False

    def store(self) -> Any:
        """A client of the Redis."""
        return redis.Redis.from_url(self.redis.url, decode_responses=True)

    def rooms(self) -> list[str]:
        """The rooms that LiveKit still has."""
        return asyncio.run(self._rooms())

    async def _rooms(self) -> list[str]:
        async with api.LiveKitAPI(self.livekit.url, LIVEKIT_KEY, LIVEKIT_SECRET) as livekit:
            return [room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms]

    def talk(self, *sentences: str) -> subprocess.Popen[str]:
        """A caller with a microphone: starts a session, says these sentences, hears the answers, ends the session."""
        said = [word for sentence in sentences for word in ("--say", sentence)]
        own = str(Path(sys.executable).with_name("greenroom"))
        return subprocess.Popen(
            [own, "talk", "--json", "--url", self.url, *said], stdout=subprocess.PIPE, text=True, cwd=self.folder
        )

    def has_active_session(self) -> bool:
        """Whether a user is in a call."""
        store = self.store()
        return any(store.hget(key, "status") == "active" for key in store.scan_iter("session:*", _type="hash"))


def answers(caller: subprocess.Popen[str]) -> list[str]:
    """What the agent said to a caller, the greeting first."""
    said, _ = caller.communicate(timeout=TALK_S)
    report = json.loads(said)
    if report["error"]:
        raise RuntimeError(f"the call failed: {report['error']}")
    return [line["text"] for line in report["transcript"] if line["who"] == "agent" and line["final"]]


@contextlib.contextmanager
def pages(container: Container, folder: Path, api_port: int) -> Iterator[str]:
    """The frontend's image in front of an API; yields its address."""
    port, health = free_port(), free_port()
    environment = {
        "API_HOST": "127.0.0.1",
        "API_PORT": str(api_port),
        "LIVEKIT_SOURCES": "ws://127.0.0.1:7880 http://127.0.0.1:7880",
        "FRONTEND_PORT": str(port),
        "HEALTH_PORT": str(health),
    }
    config = container.image.config
    log = folder / "pages.log"
    begun = Running(container.start([*config["Entrypoint"], *config["Cmd"]], log, **environment), log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        begun.kill()
