"""A worker's way to the host daemon on its machine: one request, one answer, on its Unix socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

from contract.messages import (
    MAX_MESSAGE_BYTES,
    AnyMessage,
    Check,
    Checked,
    ProtocolError,
    Refused,
    Retire,
    Retired,
    Spawn,
    Spawned,
    parse_line,
)
from orchestrator.domain.errors import HostUnavailableError

ANSWER_MARGIN_S = 2.0
CHECK_TIMEOUT_S = 10.0
RETIRE_TIMEOUT_S = 3.0


class UnixHost:
    """``ports.LocalHost`` on the daemon's socket. A request is safe to repeat: the daemon answers it as one."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def spawn(self, request: Spawn) -> Spawned:
        """See ``ports.LocalHost``."""
        reply = await self._ask(request, request.timeout_s + ANSWER_MARGIN_S)
        if not isinstance(reply, Spawned):
            raise HostUnavailableError(f"the host answered a spawn with {reply.type}")
        return reply

    async def check(self) -> Checked:
        """See ``ports.LocalHost``."""
        reply = await self._ask(Check(), CHECK_TIMEOUT_S)
        if not isinstance(reply, Checked):
            raise HostUnavailableError(f"the host answered a check with {reply.type}")
        return reply

    async def retire(self) -> Retired:
        """Have the host end every agent when it is told to stop."""
        reply = await self._ask(Retire(), RETIRE_TIMEOUT_S)
        if not isinstance(reply, Retired):
            raise HostUnavailableError(f"the host answered with {reply.type}")
        return reply

    async def _ask(self, request: Spawn | Check | Retire, timeout_s: float) -> AnyMessage:
        try:
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request)
        except (
            OSError,
            TimeoutError,
            ValueError,
        ) as error:  # a ProtocolError is a ValueError, as is a line without an end
            raise HostUnavailableError from error

    async def _exchange(self, request: Spawn | Check | Retire) -> AnyMessage:
        reader, writer = await asyncio.open_unix_connection(str(self._socket), limit=MAX_MESSAGE_BYTES)
        try:
            writer.write(request.to_line())
            await writer.drain()
            line = await reader.readline()
            if not line:
                raise ProtocolError("the host closed the connection")
            answer = parse_line(line)
            if isinstance(answer, Refused):
                raise HostUnavailableError(f"the host refused the request: {answer.reason}")
            return answer
        finally:
            writer.close()
