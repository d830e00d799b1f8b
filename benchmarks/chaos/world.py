"""The system under fault: ``greenroom run`` in a folder of its own, and a Redis behind a proxy of ours."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import httpx
import psutil
import redis
from livekit import api

from agent import native_log
from benchmarks.chaos.full_folder import FullFolder
from benchmarks.chaos.proxy import RedisProxy
from tests.support.servers import RedisServer
from tests.support.system import System

POOL = 3
SETTINGS = {
    "PREWARM_POOL_SIZE": str(POOL),
    "MAX_BOTS": "20",
    "RECONNECT_GRACE_S": "4",
    "ASSIGN_LEASE_S": "30",
    # On a slow machine the arrivals alone keep one agent waiting, also with the pool at 0: not for five minutes.
    "POOL_SCALE_DOWN_S": "10",
}
LOOK_S = 0.1
RECOVERY_S = 60.0
KEPT: set[Path] = set()
"""Folders that stay, for who wants to know why."""


class NotRecoveredError(Exception):
    """The system did not become what it should be in time; the message says what was missing."""


@dataclass
class World:
    """What faults are done to."""

    system: System
    server: RedisServer
    proxy: RedisProxy
    full_folder: FullFolder

    def keep(self) -> None:
        """Let the folder stay when all has ended."""
        KEPT.add(self.system.folder)
        self.full_folder.keep()

    def store(self) -> redis.Redis:
        """A client of Redis itself, past the proxy."""
        return redis.Redis(port=self.server.port, decode_responses=True, socket_timeout=5)

    def pid_of(self, part: str) -> int:
        """The PID of a part's main process.

        Raises:
            LookupError: it does not run.
        """
        if part == "redis":
            assert self.server.process is not None
            return self.server.process.pid
        return self.system.pid_of(part)

    def has_new(self, part: str, old: int) -> bool:
        """Whether another process than ``old`` is this part now."""
        with contextlib.suppress(LookupError):
            return self.pid_of(part) != old
        return False

    def healthy(self) -> bool:
        """Whether the system says of itself that it is ready, its host can start agents, and its worker is up."""
        with contextlib.suppress(httpx.HTTPError, ValueError), self.system.client() as client:
            return client.get("/health/ready").status_code == 200 and self._zygote() == "ready" and self._worker_is_up()
        return False

    def _worker_is_up(self) -> bool:
        """Whether it has processes for its tasks: it has read everything then."""
        with contextlib.suppress(LookupError, psutil.Error):
            return bool(psutil.Process(self.pid_of("worker")).children())
        return False

    def _zygote(self) -> str:
        """What the host says of its zygote; nothing while it is not this daemon that said it."""
        hosts = self.system.get("/api/hosts", headers=self.system.admin).get("hosts", [])
        with contextlib.suppress(LookupError, psutil.Error):
            # The process's own start is known to a hundredth of a second.
            if (hosts[0]["startedAt"] or 0) > psutil.Process(self.pid_of("host")).create_time() - 1:
                return str(hosts[0]["zygote"])
        return ""

    def pool_is_full(self) -> bool:
        """Whether so many agents wait as should."""
        with contextlib.suppress(httpx.HTTPError, ValueError):
            pool = self.system.pool()
            return bool(pool.get("success", True)) and pool.get("ready", 0) >= pool.get("target", POOL)
        return False

    async def until(self, condition: Callable[[], object], what: str, timeout_s: float = RECOVERY_S) -> float:
        """Wait for it; returns how long that took.

        Raises:
            NotRecoveredError: not in time.
        """
        began = monotonic()
        while not await asyncio.to_thread(condition):
            if monotonic() - began > timeout_s:
                raise NotRecoveredError(f"not within {timeout_s:g} s: {what}")
            await asyncio.sleep(LOOK_S)
        return monotonic() - began

    # --- what there is ---------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """All that belong to this system, wherever they went."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                if process.environ().get("GREENROOM_HOME") == str(self.system.home):
                    found.append(process)
        return found

    def zombies(self) -> list[str]:
        """Dead children that nobody collected."""
        found = []
        for process in self.system.descendants():
            with contextlib.suppress(psutil.Error):
                if process.status() == psutil.STATUS_ZOMBIE:
                    found.append(f"{process.name()} ({process.pid})")
        return found

    async def rooms(self) -> set[str]:
        """The rooms that LiveKit has."""
        key, secret = self.system.secret("LIVEKIT_API_KEY"), self.system.secret("LIVEKIT_API_SECRET")
        url = self.system.livekit_url.replace("ws", "http", 1)
        async with api.LiveKitAPI(url, key, secret) as livekit:
            return {room.name for room in (await livekit.room.list_rooms(api.ListRoomsRequest())).rooms}


@contextlib.asynccontextmanager
async def running_world(
    seed: int, *, mounts: bool = False, settings: Mapping[str, str] = SETTINGS, timeout_s: float = RECOVERY_S
) -> AsyncIterator[World]:
    """Start everything, yield, end everything. The folder is removed unless the world is to be kept, or fails.

    Args:
        seed: of the proxy's choice of the answers that it drops.
        mounts: whether the logs' folders can be filled.
        settings: the system's.
        timeout_s: how long its pool may take to be full.
    """
    native_log.write_it_itself("off")  # the users' clients are here, and take of what the system has
    folder = Path(tempfile.mkdtemp(prefix="gr-chaos-"))
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(lambda: None if folder in KEPT else shutil.rmtree(folder))
        server = RedisServer.create(folder / "redis", aof=True)
        stack.callback(server.stop)
        server.start()
        proxy = RedisProxy(server.port, seed)
        stack.callback(proxy.stop)
        system = System(folder, {**settings, "REDIS_URL": proxy.url})
        full = FullFolder([system.home / "logs", system.home / "host" / "logs"])
        stack.callback(full.unmount)
        if mounts:
            full.mount()
        stack.callback(system.stop)
        await asyncio.to_thread(system.start)
        world = World(system, server, proxy, full)
        await world.until(world.pool_is_full, "the pool is full", timeout_s)
        try:
            yield world
        except Exception:
            world.keep()
            raise


def send_all(pids: Iterable[int], number: signal.Signals) -> None:
    """Signal those that are still there."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
