"""What the rest of the system has this host do: heard from its stream in the store, done, answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence

import structlog

from contract.masking import Mask
from contract.messages import Assignment
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.host.agent_files import AgentFiles
from orchestrator.host.agents import Agents
from orchestrator.host.deaths import Background
from orchestrator.host.late import LATE_ACK_S
from orchestrator.host.renewal import Renewal
from orchestrator.records import HostReply

log = structlog.get_logger("greenroom.host")

COMMAND_BLOCK_MS = 1000
STORE_RETRY_S = 0.25


class Commands:
    """This host's commands. Hearing one twice does no harm."""

    def __init__(
        self,
        host: str,
        hosts: RedisHosts,
        agents: Agents,
        files: AgentFiles,
        renewal: Renewal,
        background: Background,
        *,
        beat: Callable[[], Awaitable[None]],
        secrets: Callable[[], Sequence[str]],
    ) -> None:
        self._host = host
        self._hosts = hosts
        self._agents = agents
        self._files = files
        self._renewal = renewal
        self._background = background
        self._beat = beat
        """Sends a heartbeat now."""
        self._secrets = secrets
        """What no line of a log may show."""

    async def listen(self, entered: asyncio.Event) -> None:
        """Take commands from the store's stream, also those of a moment ago: a claim may wait for its answer.

        What is older is over for whoever said it, and reconciliation does it. Before ``entered`` they may be another
        daemon's.
        """
        after = ""
        await entered.wait()
        while True:
            try:
                after = after or await self._hosts.position(LATE_ACK_S)
                for entry_id, command in await self._hosts.commands(self._host, after, COMMAND_BLOCK_MS):
                    after = entry_id
                    self._background(self.obey(command))
            except StoreUnavailableError:
                await asyncio.sleep(STORE_RETRY_S)

    async def obey(self, command: Mapping[str, str]) -> None:
        """Do what one says; what cannot be understood is told of in the log."""
        try:
            await self._do(command)
        except (KeyError, TypeError, ValueError, RecursionError) as error:
            log.warning("command not understood", reason=f"{type(error).__name__}: {error}"[:300])
        except StoreUnavailableError:
            log.warning("command not answered: the store is away", type=command.get("type"))

    async def _do(self, command: Mapping[str, str]) -> None:
        match command.get("type"):
            case "assign":
                await self._assign(command)
            case "end":
                agent = self._agents.get(command["session"])
                if agent is not None:
                    await self._agents.end(agent, command["reason"])
            case "logs":
                lines = self._files.lines(command["session"], int(command["limit"]), Mask(self._secrets()))
                await self._hosts.answer(command["reply"], HostReply(True, data={"lines": lines}))
            case "look":
                await self._beat()
            case "load":
                if await self._renewal.follow(command["rollout"]):
                    await self._beat()
            case other:
                log.warning("unknown command", type=other)

    async def _assign(self, command: Mapping[str, str]) -> None:
        settings = json.loads(command["assignment"])
        assignment = Assignment(session_id=command["session"], fence=int(command["fence"]), **settings)
        answer = await self._agents.assign(assignment)
        await self._hosts.answer(command["reply"], HostReply(answer.accepted, answer.reason))
