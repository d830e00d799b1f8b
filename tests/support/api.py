"""An API to test: a container with fakes around a store, agents that wait, and hosts that acknowledge."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import fakeredis
import httpx
from fastapi import FastAPI

from contract.keys import DEFAULT_KIND
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.api.app import create_app
from orchestrator.bootstrap import Container
from orchestrator.domain.errors import QueueUnavailableError, RoomsUnreachableError
from orchestrator.records import AgentIdentity, AgentRecord, HostReply, HostReport
from orchestrator.settings import Settings

ADMIN_TOKEN = "the-admin-token-of-tests"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
LIVEKIT_KEY = "greenroomtest"
LIVEKIT_SECRET = "a-secret-for-tests-of-32-chars-or-more"


def settings(**overrides: Any) -> Settings:
    """Settings for tests, whatever the environment says."""
    values: dict[str, Any] = {
        "livekit_url": "ws://127.0.0.1:7880",
        "livekit_api_key": LIVEKIT_KEY,
        "livekit_api_secret": LIVEKIT_SECRET,
        "admin_token": ADMIN_TOKEN,
        "api_keys": (),
        "max_bots": 10,
        "prewarm_pool_size": 3,
        "frontend_dir": Path("/nowhere"),
        "start_limit_user": None,
        "start_limit_tenant": None,
        "start_limit_ip": None,
    }
    return Settings(**{**values, **overrides})


class FakeQueue:
    """``ports.TaskQueue`` that remembers."""

    def __init__(self) -> None:
        self.spawns: list[tuple[str, bool]] = []
        self.kinds: dict[str, str] = {}
        self.refills = 0
        self.away = False

    async def spawn(self, session_id: str, *, urgent: bool, kind: str = DEFAULT_KIND) -> None:
        self._check()
        self.spawns.append((session_id, urgent))
        self.kinds[session_id] = kind

    async def refill(self, *, delay_s: float = 0.0) -> None:
        self._check()
        self.refills += 1

    async def check_host(self, host: str) -> None:
        self._check()

    def _check(self) -> None:
        if self.away:
            raise QueueUnavailableError


class FakeRooms:
    """``ports.Rooms`` that is up or away, and counts who asks."""

    def __init__(self) -> None:
        self.away = False
        self.pings = 0
        self.sids: dict[str, str] = {}
        """Of the rooms that are open, by name."""

    async def create(self, room: str) -> None: ...

    async def delete(self, room: str) -> None: ...

    async def sid(self, room: str) -> str | None:
        return self.sids.get(room)

    async def ping(self) -> None:
        self.pings += 1
        await asyncio.sleep(0)
        if self.away:
            raise RoomsUnreachableError("LiveKit does not answer; check LIVEKIT_URL and the server")

    async def aclose(self) -> None: ...


class AckingHosts(RedisHosts):
    """Hosts whose agents acknowledge at once, but for as many as are ``silent``, and so are their hosts."""

    silent = 0

    async def acknowledged(self, reply_id: str, timeout_s: float) -> HostReply | None:
        if self.silent:
            self.silent -= 1
            return None
        return HostReply(True)

    async def is_heard(self, host: str, within_s: float) -> bool:
        return False

    async def logs(self, host: str, session_id: str, limit: int) -> list[Any]:
        return [{"at": 1.0, "text": f"{session_id} on {host}"}][:limit]


class ApiUnderTest:
    """The app, its container, and a client of it."""

    def __init__(self, app: FastAPI, container: Container, client: httpx.AsyncClient) -> None:
        self.app = app
        self.container = container
        self.client = client

    @property
    def queue(self) -> FakeQueue:
        assert isinstance(self.container.queue, FakeQueue)
        return self.container.queue

    @property
    def rooms(self) -> FakeRooms:
        rooms: Any = self.container.rooms
        return rooms

    async def heartbeat(self, host: str = "h1", **fields: Any) -> None:
        await heartbeat(self.container.hosts, host, **fields)

    async def warm(self, count: int = 1, host: str = "h1", kind: str = DEFAULT_KIND) -> list[str]:
        """Have agents wait on a living host."""
        await self.heartbeat(host, kinds=",".join(self.container.settings.kinds.served))
        return [await ready_agent(self.container, host, pid, kind) for pid in range(4000, 4000 + count)]

    async def start(self, body: dict[str, Any] | None = None, **options: Any) -> httpx.Response:
        return await self.client.post(
            "/api/session/start", json={"userId": "user_123"} if body is None else body, **options
        )


async def heartbeat(hosts: RedisHosts, host: str, lease_s: float = 60.0, **fields: Any) -> None:
    values: dict[str, Any] = {
        "boot_id": "boot", "started_at": 1.0, "agents": 1, "warm": 1, "capacity": 10, "memory_total_bytes": 24 << 30,
        "memory_available_bytes": 12 << 30, "agent_private_bytes": 11_000_000, "zygote": "ready", "version": "0.1.0",
        "load1": 0.5, "cpus": 8,
    }  # fmt: skip
    await hosts.heartbeat(HostReport(host=host, **{**values, **fields}), lease_s)


async def ready_agent(container: Container, host: str = "h1", pid: int = 4242, kind: str = DEFAULT_KIND) -> str:
    """One agent in the pool."""
    session_id = f"prewarm_{secrets.token_hex(16)}"
    identity = AgentIdentity(host, "boot", pid, 7)
    now = await container.store.now()
    record = AgentRecord(session_id, identity, SessionState.READY, now, 0.12, None, kind=kind)
    await container.store.record_agent(record)
    return session_id


def fake_redis() -> Client:
    return fakeredis.FakeAsyncRedis(decode_responses=True)


@asynccontextmanager
async def api_under_test(
    *, client: Client | None = None, hosts: type[RedisHosts] = AckingHosts, **overrides: Any
) -> AsyncIterator[ApiUnderTest]:
    container = Container(settings(**overrides), client or fake_redis(), FakeQueue())
    container.__dict__["hosts"] = hosts(container.client)
    container.__dict__["rooms"] = FakeRooms()
    app = create_app(container)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://greenroom") as http,
    ):
        yield ApiUnderTest(app, container, http)


@asynccontextmanager
async def acknowledging_host(
    hosts: RedisHosts, host: str = "h1", silent: set[str] | None = None
) -> AsyncIterator[None]:
    """A host daemon's end of the stream: answers every claim; that of a ``silent`` agent it gives up."""

    async def serve() -> None:
        after = await hosts.position(1.0)
        ready.set()
        while not stopped.is_set():
            for entry, command in await hosts.commands(host, after, 100):
                after = entry
                if "reply" not in command:
                    continue
                if silent and command["session"] in silent:
                    await hosts.answer(command["reply"], HostReply(False, "the agent did not acknowledge"))
                    continue
                data = {"lines": [{"text": "hello"}]} if command["type"] == "logs" else {}
                await hosts.answer(command["reply"], HostReply(True, None, data))

    ready, stopped = asyncio.Event(), asyncio.Event()
    task = asyncio.create_task(serve())
    await ready.wait()
    try:
        yield
    finally:
        stopped.set()  # not cancelled: the driver may take a cancellation for its own
        await task
