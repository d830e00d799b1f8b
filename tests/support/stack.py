"""The backend parts as real programs in a folder of their own: Redis, LiveKit, the host daemon, a worker, beat.

``Stack.stop`` makes sure that no process, socket file or room is left, and fails the test if one is.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import psutil
import pytest
from celery import Celery
from livekit import api

from contract.keys import DEFAULT_KIND
from contract.messages import Spawn, Spawned
from contract.states import SessionState
from orchestrator.adapters import celery_queue as q
from orchestrator.adapters.redis_client import connect
from orchestrator.bootstrap import Container
from orchestrator.cli.redis_server import client_of
from orchestrator.domain.errors import GreenroomError, HostUnavailableError
from orchestrator.records import Session
from orchestrator.redis_address import sentinels_of
from orchestrator.services.start import Handed, Starting, request_digests
from orchestrator.settings import Settings
from tests.support.records import start_request, warm_id
from tests.support.servers import (
    HERE,
    LIVEKIT_KEY,
    LIVEKIT_SECRET,
    LiveKitServer,
    Place,
    Program,
    RedisServer,
    wait_until,
)

TOP = Path(__file__).parents[2]
HOST_ID = "host-of-tests"
ADMIN_TOKEN = "an-admin-token-that-no-agent-sees"
PATIENCE_S = 60.0
T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], *, timeout_s: float = PATIENCE_S, what: str = "condition") -> T:
    """Look until there is something to see; fail the test when there is nothing within ``timeout_s``."""
    deadline = time.monotonic() + timeout_s
    seen: object = None
    while time.monotonic() < deadline:
        with contextlib.suppress(GreenroomError):
            seen = await look()
            if seen:
                return seen
        await asyncio.sleep(0.02)
    pytest.fail(f"not within {timeout_s} s: {what}; last seen: {seen!r}")


def is_running(pid: int) -> bool:
    """Whether a process has this PID; a zombie counts, for it ought to have been reaped."""
    return Path(f"/proc/{pid}").exists()


def state_of(pid: int) -> str:
    """Its state, as proc(5) has it: ``T`` is stopped; empty when it is gone."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    return ""


def pause(pid: int) -> None:
    """SIGSTOP, and wait until it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: state_of(pid) == "T", what="it stopped")


@dataclass
class PartProgram(Program):
    """A program of ours, with its own environment."""

    environment: dict[str, str] = field(default_factory=dict)

    def start(self) -> PartProgram:
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(
                self.argv, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=self.environment, cwd=TOP
            )
        return self

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """By itself or not; so has one that was not started."""
        return self.process is None or self.process.poll() is not None

    def kill(self) -> None:
        """SIGKILL, and reap it."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)

    def wait(self, timeout_s: float = 30) -> int:
        assert self.process is not None
        return self.process.wait(timeout_s)


@dataclass
class Stack:
    """Redis and LiveKit, and what was started beside them."""

    folder: Path
    redis: RedisServer
    livekit: LiveKitServer
    settings: dict[str, str]
    parts: dict[str, PartProgram] = field(default_factory=dict)
    beside_another: bool = False
    """Another stack's Redis and LiveKit: that one stops them."""
    before_host: list[str] = field(default_factory=list)
    """Arguments before those of the host daemon."""
    place: Place = HERE

    @classmethod
    def create(cls, *, aof: bool = False, place: Place = HERE, webhook: str = "", **settings: str) -> Stack:
        """Redis and LiveKit run; the rest is started by the test. Settings are environment variables.

        LiveKit tells of what happens in its rooms at the address ``webhook``.
        """
        # A short path: a Unix socket's may have 107 characters.
        folder = Path(tempfile.mkdtemp(prefix="greenroom-"))
        redis = RedisServer.create(folder / "redis", aof=aof, place=place).start()
        extra = f"webhook: {{api_key: {LIVEKIT_KEY}, urls: [{webhook}]}}" if webhook else ""
        livekit = LiveKitServer.create(folder / "livekit", extra_config=extra, place=place).start()
        return cls(folder, redis, livekit, settings, place=place)

    def beside(self, host_id: str, place: Place | None = None) -> Stack:
        """Another machine: a folder and a host of its own, on the same Redis and LiveKit."""
        folder = Path(tempfile.mkdtemp(prefix="greenroom-"))
        settings = {**self.settings, "HOST_ID": host_id}
        return Stack(folder, self.redis, self.livekit, settings, beside_another=True, place=place or self.place)

    # --- settings ----------------------------------------------------------------------------------------

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def host_id(self) -> str:
        return self.settings.get("HOST_ID", HOST_ID)

    @property
    def socket(self) -> Path:
        return self.home / "host" / "host.sock"

    def environment(self, **overrides: str) -> dict[str, str]:
        """What the programs are given, on top of this process's own environment."""
        ours = {
            "REDIS_URL": self.redis.url,
            "LIVEKIT_URL": self.livekit.url,
            "LIVEKIT_API_KEY": LIVEKIT_KEY,
            "LIVEKIT_API_SECRET": LIVEKIT_SECRET,
            "ADMIN_TOKEN": ADMIN_TOKEN,
            "GREENROOM_HOME": str(self.home),
            "HOST_ID": HOST_ID,
            "RECONCILE_S": "0.5",
            "KILL_GRACE_S": "2",
            "START_LIMIT_USER": "0",
            "START_LIMIT_IP": "0",
        }
        return {**os.environ, **ours, **self.settings, **overrides}

    def read_settings(self) -> Settings:
        """The same, as this process reads them."""
        given = {name.lower(): value for name, value in self.environment().items()}
        return Settings(**{name: given[name] for name in (*Settings.model_fields,) if name in given})

    # --- programs ----------------------------------------------------------------------------------------

    def start(self, name: str, *argv: str, **overrides: str) -> PartProgram:
        """Start one of our programs (or start it again)."""
        environment = self.environment(**overrides)
        before = self.before_host if name == "host" else []
        command = [*self.place.enter, *before, sys.executable, "-m", *argv]
        part = PartProgram(command, self.folder / f"{name}.log", environment=environment)
        self.parts[name] = part.start()
        return part

    def start_host(self, *, ready: bool = True, **overrides: str) -> PartProgram:
        """Start the daemon; returns when it listens, and (unless told otherwise) its zygote can fork."""
        self.socket.unlink(missing_ok=True)  # a killed daemon's: the new one's is waited for
        host = self.start("host", "orchestrator.host", **overrides)
        ended = host.process.poll if host.process is not None else lambda: None
        wait_until(lambda: self.socket.exists() or ended() is not None, timeout_s=PATIENCE_S, what="the host listens")
        assert ended() is None, f"the host ended:\n{self.log('host')[-3000:]}"
        if ready:
            self.wait_zygote("ready")
        return host

    def wait_zygote(self, status: str, *, timeout_s: float = PATIENCE_S) -> str:
        """Wait until this very daemon says so of its zygote; returns the whole of it."""
        said = ""

        def look() -> bool:
            nonlocal said
            heard = self.heartbeat()
            said = heard.get("zygote", "") if self.is_of(self.host, heard) else ""
            return said.startswith(status)

        wait_until(look, timeout_s=timeout_s, what=f"the zygote is {status}", every_s=0.05)
        return said

    def heartbeat(self) -> dict[str, str]:
        """What the host said last."""
        import redis

        with (
            client_of(self.environment()["REDIS_URL"], decode_responses=True, socket_timeout=2) as client,
            contextlib.suppress(redis.RedisError),
        ):
            return {str(k): str(v) for k, v in client.hgetall(f"host:{self.host_id}").items()}
        return {}

    def is_of(self, host: PartProgram, heartbeat: Mapping[str, str]) -> bool:
        """Whether it was this daemon that said it, and not the one before."""
        started_at = psutil.Process(host.pid).create_time()
        # The process's own start is known to a hundredth of a second.
        return float(heartbeat.get("started_at", 0)) > started_at - 1

    def bring_module(self, file: str) -> None:
        """What its zygote may import, and an agent of another user read."""
        modules = self.folder / "modules"
        modules.mkdir()
        shutil.copy(file, modules)
        self.settings["PYTHONPATH"] = str(modules)

    def start_worker(self, **overrides: str) -> PartProgram:
        """Start a worker as ``supervisord.conf`` does."""
        argv = ["celery", "-A", "orchestrator.tasks:app", "worker"]
        argv += ["--without-gossip", "--without-mingle", "--loglevel=warning"]
        return self.start("worker", *argv, **overrides)

    def start_beat(self, name: str = "beat", **overrides: str) -> PartProgram:
        """Start a beat."""
        argv = ["celery", "-A", "orchestrator.tasks:app", "beat", "--pidfile", ""]
        return self.start(name, *argv, "--loglevel=warning", **overrides)

    @property
    def host(self) -> PartProgram:
        return self.parts["host"]

    @property
    def worker(self) -> PartProgram:
        return self.parts["worker"]

    def log(self, name: str) -> str:
        """What a program has printed."""
        return self.parts[name].log.read_text(errors="replace")

    # --- what runs ---------------------------------------------------------------------------------------

    def processes(self) -> list[psutil.Process]:
        """Every process that was started with this folder, however it was started."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if self._is_ours(process):
                    found.append(process)
        return found

    def _is_ours(self, process: psutil.Process) -> bool:
        try:
            return process.environ().get("GREENROOM_HOME") == str(self.home)
        except psutil.AccessDenied:  # it hides itself from all but root: the zygote's arguments say it, too
            return str(self.home) in process.cmdline()

    def agent_pids(self) -> set[int]:
        """The agents among them."""
        return {p.pid for p in self.processes() if _name(p) == "greenroom-agent"}

    def zygote_pid(self) -> int:
        """The daemon's zygote, once there is one (agents of an earlier one are the daemon's children, too)."""
        found: list[int] = []

        def look() -> bool:
            children = psutil.Process(self.host.pid).children()
            found[:] = [p.pid for p in children if _name(p) != "greenroom-agent" and state_of(p.pid) != "Z"]
            return bool(found)

        wait_until(look, timeout_s=PATIENCE_S, what="there is a zygote")
        return found[0]

    def all_reaped(self) -> None:
        """Wait until no child of the daemon and of its zygote is dead and not reaped."""

        def no_zombie() -> bool:
            children = psutil.Process(self.host.pid).children(recursive=True)
            return not any(state_of(p.pid) == "Z" for p in children)

        wait_until(no_zombie, what="every dead child is reaped")

    # --- using it ----------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def container(self) -> AsyncIterator[Backend]:
        """Everything, on the running event loop."""
        settings = self.read_settings()
        sentinels = sentinels_of(settings.redis_url)
        broker = sentinels.broker_url if sentinels else settings.redis_url
        queue = Celery("greenroom-tests", broker=broker, set_as_current=False)
        queue.conf.broker_transport_options = sentinels.broker_options if sentinels else {}
        queue.conf.task_queues = q.consumed(settings.kinds.served, self.host_id)
        queue.conf.task_default_queue = q.MAINTENANCE_QUEUE
        built = Container(settings, connect(settings.redis_url), q.CeleryQueue(queue))
        livekit = api.LiveKitAPI(self.livekit.url, LIVEKIT_KEY, LIVEKIT_SECRET)
        try:
            yield Backend(self, built, livekit)
        finally:
            await livekit.aclose()
            await built.aclose()
            queue.close()

    # --- the end -----------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End everything; fail when something is left behind."""
        left: list[str] = []
        try:
            left = asyncio.run(self._retire()) if "host" in self.parts else []
        finally:
            left += self._end_all()
            if not self.beside_another:
                self.livekit.stop()
                self.redis.stop()
            shutil.rmtree(self.folder, ignore_errors=True)
        assert left == [], f"left behind: {left}"

    async def _retire(self) -> list[str]:
        """As an operator stops a machine; returns the rooms that are left."""
        if "worker" in self.parts:
            self.worker.stop()
        async with self.container() as backend:
            if self.host.process is not None and self.host.process.poll() is None:
                await backend.local_host.retire()
                self.host.stop()
            return [] if self.beside_another else [f"room {name}" for name in await backend.rooms_left()]

    def _end_all(self) -> list[str]:
        for part in self.parts.values():
            part.stop()
        deadline = time.monotonic() + 5
        while (running := self.processes()) and time.monotonic() < deadline:
            time.sleep(0.05)
        left = [f"process {p.pid} {_name(p)}" for p in running]
        for process in running:
            with contextlib.suppress(psutil.Error):
                process.kill()
        sockets = [str(path) for path in self.home.rglob("*") if path.is_socket()] if self.home.exists() else []
        return left + sockets


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{process.pid}/comm").read_text().strip()
    return ""


@dataclass(frozen=True)
class Backend:
    """What a test does with a stack, on its own event loop."""

    stack: Stack
    container: Container
    livekit: api.LiveKitAPI

    @property
    def store(self):
        return self.container.store

    @property
    def local_host(self):
        return self.container.local_host

    async def spawn(self, session_id: str, *, timeout_s: float = 30.0) -> Spawned:
        """Make the room and have the host fork, as the worker does."""
        await self.container.rooms.create(session_id)
        return await self.local_host.spawn(Spawn(session_id=session_id, requested_at=time.time(), timeout_s=timeout_s))

    async def warm(self, session_id: str) -> Session:
        """An agent that waits in the pool."""
        outcome = await self.spawn(session_id)
        assert outcome.ok, outcome
        return await self.session(session_id, SessionState.READY)

    async def warm_and_assigned(self, number: int) -> tuple[str, str]:
        """Two agents, one of them claimed; returns their sessions' ids, the warm one first."""
        ids = {(await self.warm(warm_id(each))).session_id for each in (number, number + 1)}
        handed = await self.start("user-1")
        assert isinstance(handed, Handed)
        (warm,) = ids - {handed.session_id}
        return warm, handed.session_id

    async def start(self, user: str = "user-1", *, kind: str = DEFAULT_KIND) -> Handed | Starting:
        """``POST /api/session/start``, without HTTP."""
        key, body, keep_s = request_digests("tests", None, b"{}")
        request = replace(start_request(key, user=user, body=body, keep_s=keep_s), kind=kind)
        outcome = await self.container.start(request)
        assert isinstance(outcome, Handed | Starting)
        return outcome

    async def session(self, session_id: str, *states: SessionState) -> Session:
        """The session, once it is in one of these states."""

        async def look() -> Session | None:
            session = await self.store.get(session_id)
            return session if session is not None and session.state in states else None

        return await eventually(look, what=f"{session_id} is {', '.join(states)}")

    async def pool(self) -> set[str]:
        """The members of ``pool:ready``."""
        return set(await self.container.client.smembers("pool:ready"))

    async def pool_has(self, count: int) -> set[str]:
        """The pool, once it has so many agents."""

        async def look() -> set[str] | None:
            members = await self.pool()
            return members if len(members) == count else None

        if count:
            return await eventually(look, what=f"{count} agents in the pool")

        async def is_empty() -> bool:
            return not await self.pool()

        await eventually(is_empty, what="an empty pool")
        return set()

    async def room(self, session_id: str) -> api.Room | None:
        """The room, if there is one."""
        found = await self.livekit.room.list_rooms(api.ListRoomsRequest(names=[session_id]))
        return found.rooms[0] if found.rooms else None

    async def room_gone(self, session_id: str) -> None:
        """Wait until the room is closed."""

        async def is_gone() -> bool:
            return await self.room(session_id) is None

        await eventually(is_gone, what=f"room {session_id} is closed")

    async def participants(self, session_id: str) -> list[api.ParticipantInfo]:
        """Who is in the room."""
        found = await self.livekit.room.list_participants(api.ListParticipantsRequest(room=session_id))
        return list(found.participants)

    async def rooms_left(self) -> list[str]:
        """Rooms that are still open a moment after their agents went."""
        deadline = time.monotonic() + 5
        while True:
            rooms = [room.name for room in (await self.livekit.room.list_rooms(api.ListRoomsRequest())).rooms]
            if not rooms or time.monotonic() > deadline:
                return rooms
            await asyncio.sleep(0.05)

    async def end(self, *session_ids: str) -> None:
        """End these sessions, and wait until their agents and rooms are gone."""
        sessions = [await self.store.get(session_id) for session_id in session_ids]
        for session_id in session_ids:
            await self.store.finish(session_id, SessionState.ENDED, "the test is over")
        for session in filter(None, sessions):
            await self.room_gone(session.session_id)
            if session.agent_pid is not None:
                await self.gone(session.agent_pid)

    async def gone(self, pid: int) -> None:
        """Wait until the process is dead and reaped."""

        async def is_gone() -> bool:
            return not is_running(pid)

        await eventually(is_gone, what=f"process {pid} is gone")

    async def host_answers(self) -> None:
        """Wait until the daemon takes requests."""

        async def answers() -> bool:
            with contextlib.suppress(HostUnavailableError):
                await self.local_host.check()
                return True
            return False

        await eventually(answers, what="the host answers")


@contextlib.contextmanager
def running_stack(*, worker: bool = False, aof: bool = False, webhook: str = "", **settings: str) -> Iterator[Stack]:
    """A stack with a host (and a worker), for a module's fixture; afterwards nothing is left."""
    stack = Stack.create(aof=aof, webhook=webhook, **settings)
    try:
        if worker:
            stack.start_worker()
        stack.start_host()
        yield stack
    finally:
        stack.stop()
