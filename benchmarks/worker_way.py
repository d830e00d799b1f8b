"""livekit-agents' own worker as a way of having an agent in a user's room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import psutil
from livekit import api

from benchmarks.room_user import RoomUser
from benchmarks.ways import Rooms, Way, room_name, until
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer, free_port

TOP = Path(__file__).parents[1]
AGENT_NAME = "quiet"
LOG = "worker.log"


@contextlib.asynccontextmanager
async def worker(
    server: LiveKitServer, folder: Path, idle: int, load_threshold: float | None = None
) -> AsyncIterator[Way]:
    """``start``, its production mode, with so many idle processes; otherwise its defaults, but for the threshold."""
    folder.mkdir()
    port = free_port()
    environment = {
        **os.environ,
        "PYTHONPATH": str(TOP),
        "OPENBLAS_NUM_THREADS": "1",
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": LIVEKIT_KEY,
        "LIVEKIT_API_SECRET": LIVEKIT_SECRET,
        "WORKER_AGENT_NAME": AGENT_NAME,
        "WORKER_IDLE_PROCESSES": str(idle),
        "WORKER_LOAD_THRESHOLD": str(load_threshold or ""),
        "WORKER_PORT": str(port),
        "WORKER_FOLDER": str(folder),
    }
    argv = [sys.executable, "-m", "livekit.agents", "start", "benchmarks/livekit_worker.py"]
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(argv, cwd=TOP, env=environment, stdout=log, stderr=log, start_new_session=True)
    try:
        async with Rooms.of(server) as rooms:
            yield Worker(rooms, folder, port, psutil.Process(process.pid))
    finally:
        _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    left = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)
    for child in left:  # what it left behind
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()


class Worker:
    """livekit-agents' own worker in production mode; each click is a dispatch by LiveKit's API."""

    waits = True

    def __init__(self, rooms: Rooms, folder: Path, port: int, process: psutil.Process) -> None:
        self._rooms = rooms
        self._folder = folder
        self._port = port
        self._process = process

    async def call(self, user: RoomUser) -> None:
        """See ``ways.Way``."""
        room = user.room_name = room_name()
        request = api.CreateAgentDispatchRequest(agent_name=AGENT_NAME, room=room)
        dispatch = self._rooms.api.agent_dispatch.create_dispatch(request)
        await asyncio.gather(dispatch, user.join(self._rooms.url, self._rooms.for_user(room)))

    async def ready(self, idle: int) -> None:
        """See ``ways.Way``."""

        async def look() -> bool:
            registered = b"registered worker" in (self._folder / LOG).read_bytes()
            return registered and await self._active_jobs() == 0 and len(self.idle_pids()) == idle

        await until(look, f"{idle} idle processes of the worker")

    async def end(self, rooms: list[str]) -> None:
        """See ``ways.Way``."""
        await asyncio.gather(*map(self._rooms.delete, rooms))

    def idle_pids(self) -> list[int]:
        """Its fork server's children: one that ended is not counted."""
        servers = [p for p in self._process.children() if "forkserver" in " ".join(p.cmdline())]
        return [p.pid for server in servers for p in server.children() if p.status() != psutil.STATUS_ZOMBIE]

    def pid(self, room: str) -> int:
        """See ``ways.Way``."""
        return int((self._folder / room).read_text())

    async def _active_jobs(self) -> int:
        with contextlib.suppress(aiohttp.ClientError):
            async with aiohttp.request("GET", f"http://127.0.0.1:{self._port}/worker") as answer:
                found: int = (await answer.json()).get("active_jobs", 0)
                return found
        return -1  # not up yet
