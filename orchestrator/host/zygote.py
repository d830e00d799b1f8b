"""The host's side of the zygote: start it, have it fork, start it again when it dies. Agents are not touched."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import structlog

from contract.messages import (
    MAX_MESSAGE_BYTES,
    AnyMessage,
    Exited,
    Fork,
    Forked,
    ZygoteFailed,
    ZygoteReady,
    parse_line,
)
from orchestrator.host.agent_user import AgentUser
from orchestrator.host.processes import ProcessId, open_pidfd, send

log = structlog.get_logger("greenroom.host")

RESTART_S = (0.1, 1.0, 5.0, 15.0)
"""Waits before each restart in a row; the last one repeats. Having been ready starts the row anew."""


class ZygoteUnavailableError(Exception):
    """The zygote is not there; the message says why."""

    code = "zygote_unavailable"


class ZygoteStartingError(ZygoteUnavailableError):
    """It is being started: who waits a little longer has it."""

    code = "host_unavailable"


@dataclass(frozen=True)
class ZygoteCommand:
    """How to start the zygote."""

    module: str
    agent: str
    environment: Mapping[str, str]
    home: str
    user: AgentUser | None = None
    """As whom it runs, with all that it forks; None for the host's own user."""
    processes: int = 0
    """Of that user at most."""


class Zygote:
    """Keeps one zygote process and talks with it."""

    def __init__(
        self, command: ZygoteCommand, on_exit: Callable[[int, int], None], on_ready: Callable[[], object]
    ) -> None:
        self._command = command
        self._on_exit = on_exit
        self._on_ready = on_ready
        self._ready = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._forks: dict[str, asyncio.Future[Forked]] = {}
        self._process: subprocess.Popen[bytes] | None = None
        self.status = "starting"
        """``starting``, ``ready`` or ``failed: why``."""

    async def run(self) -> None:
        """Keep a zygote running until cancelled."""
        failures = 0
        try:
            while True:
                was_ready = await self._one_life()
                failures = 0 if was_ready else failures + 1
                if failures > 1 and not self.status.startswith("failed"):
                    self.status = "failed: it dies while it loads the agent; the host's log may say more"
                await asyncio.sleep(RESTART_S[min(failures, len(RESTART_S) - 1)])
        finally:
            self._close()

    async def fork(self, request: Fork, timeout_s: float) -> Forked:
        """Have an agent forked, waiting for the zygote if it is starting.

        Raises:
            ZygoteUnavailableError: it is not ready in time, or died.
        """
        future: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                if self.status.startswith("failed"):
                    raise ZygoteUnavailableError(f"the zygote is not ready ({self.status})")
                await self._ready.wait()
                if self._writer is None:
                    raise ZygoteUnavailableError("the zygote died")
                self._forks[request.session_id] = future
                # From now on: how long the zygote took to load is not how long an agent takes to start.
                self._writer.write(request.model_copy(update={"requested_at": time.time()}).to_line())
                return await future
        except TimeoutError:
            kind = ZygoteStartingError if self.status == "starting" else ZygoteUnavailableError
            raise kind(f"the zygote is not ready ({self.status})") from None
        finally:
            if self._forks.get(request.session_id) is future:
                del self._forks[request.session_id]

    async def _one_life(self) -> bool:
        """Start it and serve it until it dies; returns whether it was ready."""
        ours, theirs = socket.socketpair()
        command = self._command
        argv = [sys.executable, "-m", command.module, "--fd", str(theirs.fileno()), "--agent", command.agent]
        argv += ["--home", command.home]
        user: dict[str, Any] = {}
        if command.user is not None:
            argv += ["--processes", str(command.processes)]
            user = {"user": command.user.uid, "group": command.user.gid, "extra_groups": []}
        self._process = subprocess.Popen(  # noqa: ASYNC220 - a fork and an exec; the daemon reaps, not the loop
            argv, pass_fds=[theirs.fileno()], env=dict(command.environment), stdin=subprocess.DEVNULL, **user
        )
        theirs.close()
        reader, self._writer = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE_BYTES)
        log.info("zygote starting", pid=self._process.pid)
        try:
            while line := await reader.readline():
                self._on_message(parse_line(line))
        except OSError as error:
            log.warning("zygote's line broke", reason=str(error))
        except ValueError as error:  # a ProtocolError, or a line without an end
            log.exception("zygote spoke nonsense", reason=str(error)[:300])
        was_ready = self._ready.is_set()
        self._died()
        return was_ready

    def _on_message(self, message: AnyMessage) -> None:
        match message:
            case ZygoteReady():
                self.status = "ready"
                self._ready.set()
                self._on_ready()
                log.info("zygote ready", pid=message.pid, preload_s=round(message.preload_s, 3))
            case ZygoteFailed():
                self.status = f"failed: {message.reason}"
                log.error("zygote could not load the agent", reason=message.reason)
            case Forked():
                future = self._forks.pop(message.session_id, None)
                if future is not None and not future.done():
                    future.set_result(message)
                else:
                    _end_stray(message)
            case Exited():
                self._on_exit(message.pid, message.status)
            case _:
                log.warning("unexpected message from the zygote", type=message.type)

    def _died(self) -> None:
        self._ready.clear()
        self._close()
        if not self.status.startswith("failed"):
            self.status = "starting"
        for future in self._forks.values():
            if not future.done():
                future.set_exception(ZygoteUnavailableError("the zygote died"))
        log.warning("zygote died")

    def _close(self) -> None:
        """End it. It keeps nothing, so it is killed: one that hangs would not heed its closed line, nor SIGTERM."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._process is not None:
            self._process.kill()  # not if it was reaped: Popen looks first
            self._process.wait()
            self._process = None


def _end_stray(forked: Forked) -> None:
    """Kill an agent that nobody waits for any more: its session may have another one by now."""
    if forked.pid is None or forked.start_ticks is None:
        return
    pidfd = open_pidfd(ProcessId(forked.pid, forked.start_ticks))
    if pidfd is not None:
        log.warning("a fork came too late", session_id=forked.session_id, pid=forked.pid)
        send(pidfd, signal.SIGKILL)
        os.close(pidfd)
