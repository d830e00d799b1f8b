"""A host's socket with stand-ins for its agents, and clients' lines to it."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from contract.messages import (
    MAX_MESSAGE_BYTES,
    AnyMessage,
    Check,
    Checked,
    Hello,
    Leaving,
    Measured,
    Spawn,
    Spawned,
    Turn,
    parse_line,
)
from contract.procfs import start_ticks
from orchestrator.host.agent import Agent
from orchestrator.host.processes import ProcessId
from orchestrator.host.server import HostServer
from tests.support.records import warm_id


class FakeAgents:
    """Takes up whoever says hello first for a session, and notes what it is told."""

    def __init__(self) -> None:
        self.agents: dict[str, Agent] = {}
        self.news: list[object] = []
        self.dials: list[int] = []

    def __len__(self) -> int:
        return len(self.agents)

    def get(self, session_id: str) -> Agent | None:
        return self.agents.get(session_id)

    async def spawn(self, request: Spawn) -> Spawned:
        return Spawned(ok=True, pid=1, startup_s=0.1)

    async def check(self) -> list[str]:
        return []

    def hello(self, hello: Hello, writer: asyncio.StreamWriter) -> Agent | None:
        process = ProcessId(hello.pid, hello.start_ticks)
        agent = self.agents.setdefault(hello.session_id, Agent(hello.session_id, process, None, 1.0))
        if agent.process != process:
            return None
        agent.attach(hello, writer)
        return agent

    def user_joined(self, agent: Agent) -> None:
        self.news.append("joined")

    def user_left(self, agent: Agent) -> None:
        self.news.append("left")

    def turn(self, agent: Agent, turn: Turn) -> None:
        self.news.append(turn.text)

    def measured(self, agent: Agent, report: Measured) -> None:
        self.news.append(report.seq)

    def dialled(self, pid: int) -> None:
        self.dials.append(pid)

    def leaving(self, agent: Agent, message: Leaving) -> None:
        self.news.append(message.reason)


class FakeStrangers:
    """Whoever comes is this agent, or what it started; or None: a worker."""

    agent: int | None = None

    def owner(self, peer: object) -> int | None:
        return self.agent


class Line:
    """A client's connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, message: AnyMessage | bytes) -> None:
        self.writer.write(message if isinstance(message, bytes) else message.to_line())

    async def receive(self) -> AnyMessage | None:
        """The next message; None at the end of the line."""
        async with asyncio.timeout(20):
            line = await self.reader.readline()
        return parse_line(line) if line else None

    async def closed(self) -> bool:
        with contextlib.suppress(ConnectionResetError):
            return await self.receive() is None
        return True


class Fixture:
    def __init__(self, folder: Path) -> None:
        self.path = folder / "host.sock"
        self.agents = FakeAgents()
        self.retired = 0
        # This process is the test's worker, too.
        self.strangers = FakeStrangers()
        self.server = HostServer(self.path, self.agents, self._retire, self.strangers)  # type: ignore[arg-type]

    def _retire(self) -> None:
        self.retired += 1

    @asynccontextmanager
    async def line(self) -> AsyncIterator[Line]:
        reader, writer = await asyncio.open_unix_connection(str(self.path), limit=MAX_MESSAGE_BYTES)
        try:
            yield Line(reader, writer)
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def ask(self, message: AnyMessage | bytes) -> AnyMessage | None:
        async with self.line() as line:
            line.send(message)
            return await line.receive()

    async def still_serves(self) -> None:
        assert await self.ask(Check()) == Checked(agents=len(self.agents), ended=[])


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Fixture]:
    host = Fixture(folder)
    await host.server.start()
    try:
        yield host
        await host.still_serves()
    finally:
        await host.server.stop()
        assert not host.path.exists()
        await drained()


async def drained() -> None:
    """Until the server's own tasks have seen their lines close."""
    async with asyncio.timeout(20):
        while others := asyncio.all_tasks() - {asyncio.current_task()}:
            serves = [task for task in others if "_serve" in repr(task.get_coro())]
            if not serves:
                return
            await asyncio.sleep(0)


def hello(session_id: str = warm_id(1), **fields: Any) -> Hello:
    pid = os.getpid()
    own = {"pid": pid, "start_ticks": start_ticks(pid), "phase": "ready", "created_at": 1.0} | fields
    return Hello(session_id=session_id, **own)


async def taken_up(host: Fixture, session_id: str = warm_id(1)) -> Agent:
    async with asyncio.timeout(20):
        while session_id not in host.agents.agents or host.agents.agents[session_id].writer is None:
            await asyncio.sleep(0)
    return host.agents.agents[session_id]
