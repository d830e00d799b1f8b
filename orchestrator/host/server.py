"""The host's Unix socket: agents keep a line open on it; a worker sends one request and gets one answer."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog

from contract.messages import (
    MAX_MESSAGE_BYTES,
    AnyMessage,
    Assigned,
    Check,
    Checked,
    Hello,
    Leaving,
    Measured,
    Pong,
    ProtocolError,
    Ready,
    Refused,
    Retire,
    Retired,
    Spawn,
    Turn,
    UserJoined,
    UserLeft,
    parse_line,
)
from orchestrator.host.agent import Agent
from orchestrator.host.agents import Agents
from orchestrator.host.lines import Lines
from orchestrator.host.peers import Strangers, peer_of

log = structlog.get_logger("greenroom.host")

FIRST_MESSAGE_TIMEOUT_S = 5.0


class HostServer:
    """Listens on the socket and hands what it hears to the agents.

    Only this user may open it, and where agents run as another one, they may. Whoever is one of them, or was started by
    one, may be an agent and ask for nothing.
    """

    def __init__(
        self,
        path: Path,
        agents: Agents,
        on_retire: Callable[[], None],
        strangers: Strangers,
        agent_gid: int | None = None,
    ) -> None:
        self._path = path
        self._agents = agents
        self._on_retire = on_retire
        self._strangers = strangers
        self._agent_gid = agent_gid
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._lines = Lines()

    async def start(self) -> None:
        """Listen. A socket file that a killed daemon left is replaced; the daemon's lock says that it is dead."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=MAX_MESSAGE_BYTES)
        if self._agent_gid is not None:
            os.chown(self._path, -1, self._agent_gid)
        self._path.chmod(0o600 if self._agent_gid is None else 0o660)

    async def stop(self) -> None:
        """Stop listening, close every line, remove the socket file."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            writer.close()
        self._path.unlink(missing_ok=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        try:
            await self._admit(reader, writer)
        except (ProtocolError, ValueError, asyncio.LimitOverrunError) as error:
            log.warning("refused a message", reason=str(error)[:300])
            writer.write(Refused(reason=str(error)[:300]).to_line())
        except (TimeoutError, OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self._writers.discard(writer)
            with suppress(OSError):
                writer.close()

    async def _admit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Listen to it, unless whoever it is has too many lines open already."""
        owner = self._strangers.owner(peer_of(writer))
        if owner:
            self._agents.dialled(owner)
        if not self._lines.take(owner):
            writer.write(Refused(reason="too many lines are open").to_line())
            return
        try:
            await self._converse(reader, writer, owner)
        finally:
            self._lines.give_back(owner)

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, owner: int | None) -> None:
        async with asyncio.timeout(FIRST_MESSAGE_TIMEOUT_S):
            line = await reader.readline()
        if not line:
            return
        first = parse_line(line)
        if not isinstance(first, Hello):
            if owner is not None:
                raise ProtocolError(f"{first.type} is not for agents to ask")
            writer.write((await self._answer(first)).to_line())
            await writer.drain()
            return
        await self._agent_line(first, reader, writer)

    async def _answer(self, request: AnyMessage) -> AnyMessage:
        match request:
            case Spawn():
                return await self._agents.spawn(request)
            case Check():
                count = len(self._agents)
                return Checked(agents=count, ended=await self._agents.check())
            case Retire():
                self._on_retire()
                return Retired(agents=len(self._agents))
        raise ProtocolError(f"{request.type} is not the first message of a connection")

    async def _agent_line(self, hello: Hello, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if peer_of(writer).pid != hello.pid:
            raise ProtocolError("pid: it is not this connection's process")
        known = self._agents.get(hello.session_id)
        if known is not None and known.process.pid == hello.pid:
            await _in_its_turn(known)
        agent = self._agents.hello(hello, writer)
        if agent is None:
            raise ProtocolError("session_id: another process is this session's agent")
        try:
            while (line := await reader.readline()) and await _in_its_turn(agent):
                self._hear(agent, parse_line(line))
        finally:
            agent.detach(writer)

    def _hear(self, agent: Agent, message: AnyMessage) -> None:
        match message:
            case Ready():
                agent.is_ready(message.startup_s)
            case Assigned():
                agent.acknowledged(message)
            case Pong():
                agent.ponged(message)
            case UserJoined():
                self._agents.user_joined(agent)
            case UserLeft():
                self._agents.user_left(agent)
            case Turn():
                self._agents.turn(agent, message)
            case Measured():
                self._agents.measured(agent, message)
            case Leaving():
                self._agents.leaving(agent, message)
            case _:
                raise ProtocolError(f"{message.type} is not an agent's message")


async def _in_its_turn(agent: Agent) -> bool:
    """Wait while it says more than anybody should; false when it died meanwhile: nobody listens any more."""
    if wait_s := agent.pace.wait_s():
        await asyncio.sleep(wait_s)
        return not agent.dead.is_set()
    return True
