"""The host's side of the zygote: start it, have it fork, start it again when it dies, put a newer one in its place.

Agents are not touched by any of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from contract.keys import DEFAULT_KIND
from contract.masking import masked
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
RETIRE_S = 2.0
"""For forks under way when another zygote takes over; one takes some milliseconds."""


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
    kind: str = DEFAULT_KIND
    """Of the agents that it forks."""
    memory_mb: int = 2048
    """What one of these may use."""


@dataclass(frozen=True)
class _Process:
    """One zygote process and its line."""

    process: subprocess.Popen[bytes]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    generation: str
    """Names this process among all that this host had: agents that it forks are of this generation."""

    @classmethod
    async def start(cls, command: ZygoteCommand) -> _Process:
        ours, theirs = socket.socketpair()
        argv = [sys.executable, "-m", command.module, "--fd", str(theirs.fileno()), "--agent", command.agent]
        argv += ["--home", command.home]
        user: dict[str, Any] = {}
        if command.user is not None:
            argv += ["--processes", str(command.processes)]
            user = {"user": command.user.uid, "group": command.user.gid, "extra_groups": []}
        process = subprocess.Popen(  # noqa: ASYNC220 - a fork and an exec; the daemon reaps, not the loop
            argv, pass_fds=[theirs.fileno()], env=dict(command.environment), stdin=subprocess.DEVNULL, **user
        )
        theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours, limit=MAX_MESSAGE_BYTES)
        log.info("zygote starting", pid=process.pid, kind=command.kind)
        return cls(process, reader, writer, f"{time.time():.3f}")

    def close(self) -> None:
        """End it. It keeps nothing, so it is killed: one that hangs would not heed its closed line, nor SIGTERM."""
        self.writer.close()
        self.process.kill()  # not if it was reaped: Popen looks first
        self.process.wait()


@dataclass(frozen=True)
class Successor:
    """Another zygote that has loaded its agent, and can take over."""

    command: ZygoteCommand
    process: _Process

    @classmethod
    async def load(cls, command: ZygoteCommand, timeout_s: float) -> Successor:
        """Load the agent's code anew in a process of its own.

        Raises:
            ZygoteUnavailableError: it could not be loaded.
        """
        process = await _Process.start(command)
        failure = await _failure_to_load(process, timeout_s)
        if failure is not None:
            process.close()
            raise ZygoteUnavailableError(failure)
        return cls(command, process)

    def close(self) -> None:
        """End it: it is not needed after all."""
        self.process.close()


class Zygote:
    """Keeps one zygote process and talks with it."""

    def __init__(
        self, command: ZygoteCommand, on_exit: Callable[[int, int], None], on_ready: Callable[[], object]
    ) -> None:
        self._command = command
        self._on_exit = on_exit
        self._on_ready = on_ready
        self._ready = asyncio.Event()
        self._current: _Process | None = None
        self._successor: _Process | None = None
        self._renewed = asyncio.Event()
        self._forks: dict[str, asyncio.Future[Forked]] = {}
        self.generation = ""
        """Of the process that is or was last ready."""
        self.status = "starting"
        """``starting``, ``ready`` or ``failed: why``."""

    async def run(self) -> None:
        """Keep a zygote running until cancelled."""
        failures = 0
        try:
            while True:
                was_ready = await self._one_life()
                if self._successor is not None:
                    continue
                failures = 0 if was_ready else failures + 1
                if failures > 1 and not self.status.startswith("failed"):
                    self.status = "failed: it dies while it loads the agent; the host's log may say more"
                await self._pause(RESTART_S[min(failures, len(RESTART_S) - 1)])
        finally:
            self._close()

    async def _pause(self, seconds: float) -> None:
        """Unless another zygote is there before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._renewed.wait()

    async def fork(self, request: Fork, timeout_s: float) -> tuple[Forked, str]:
        """Have an agent forked, waiting for the zygote if it is starting; also returns its generation.

        Raises:
            ZygoteUnavailableError: it is not ready in time, or died.
        """
        future: asyncio.Future[Forked] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                if self.status.startswith("failed"):
                    raise ZygoteUnavailableError(f"the zygote is not ready ({self.status})")
                await self._ready.wait()
                if self._current is None:
                    raise ZygoteUnavailableError("the zygote died")
                generation = self._current.generation
                self._forks[request.session_id] = future
                # From now on: how long the zygote took to load is not how long an agent takes to start.
                self._current.writer.write(request.model_copy(update={"requested_at": time.time()}).to_line())
                return await future, generation
        except TimeoutError:
            kind = ZygoteStartingError if self.status == "starting" else ZygoteUnavailableError
            raise kind(f"the zygote is not ready ({self.status})") from None
        finally:
            if self._forks.get(request.session_id) is future:
                del self._forks[request.session_id]

    async def take_over(self, successor: Successor) -> None:
        """Have this one fork from now on."""
        self._command, self._successor = successor.command, successor.process
        self._renewed.set()
        await self._retire_current()

    async def _retire_current(self) -> None:
        """Its forks under way are answered first: it is asked for no more, and ``run`` goes on with the successor."""
        self._ready.clear()
        if self._forks:
            await asyncio.wait(list(self._forks.values()), timeout=RETIRE_S)
        if self._current is not None:
            self._current.writer.close()

    async def _one_life(self) -> bool:
        """Serve one process until it dies, or another one takes its place; returns whether it was ready."""
        child, self._successor = self._successor, None
        self._renewed.clear()
        if child is None:
            child = self._current = await _Process.start(self._command)
        else:
            self._current = child
            self._is_ready(child)
        await self._hear(child.reader, child)
        was_ready = self.generation == child.generation
        self._died()
        return was_ready

    async def _hear(self, reader: asyncio.StreamReader, child: _Process) -> None:
        """Take its messages, until it says no more or what it says cannot be understood."""
        try:
            while line := await reader.readline():
                self._on_message(child, parse_line(line))
        except OSError as error:
            log.warning("zygote's line broke", reason=str(error))
        except ValueError as error:  # a ProtocolError, or a line without an end
            log.exception("zygote spoke nonsense", reason=str(error)[:300])

    def _is_ready(self, child: _Process) -> None:
        self.status, self.generation = "ready", child.generation
        self._ready.set()
        self._on_ready()
        log.info("zygote ready", pid=child.process.pid, kind=self._command.kind, generation=child.generation)

    def _on_message(self, child: _Process, message: AnyMessage) -> None:
        match message:
            case ZygoteReady():
                log.info("zygote loaded", preload_s=round(message.preload_s, 3))
                self._is_ready(child)
            case ZygoteFailed():
                reason = masked(message.reason)
                self.status = f"failed: {reason}"
                log.error("zygote could not load the agent", kind=self._command.kind, reason=reason)
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
        if self._successor is None:
            log.warning("zygote died", kind=self._command.kind)

    def _close(self) -> None:
        if self._current is not None:
            self._current.close()
            self._current = None


async def _failure_to_load(process: _Process, timeout_s: float) -> str | None:
    """Wait until it has loaded the agent: None, or why it has not, in words."""
    try:
        async with asyncio.timeout(timeout_s):
            message = parse_line(await process.reader.readline())
    except TimeoutError:
        return f"it was not loaded within {timeout_s:g} s"
    except (ValueError, OSError):  # the line ended before its first word
        return "the process died while it loaded the agent; the host's log may say more"
    if isinstance(message, ZygoteFailed):
        return masked(message.reason)
    return None if isinstance(message, ZygoteReady) else "it spoke nonsense"


def _end_stray(forked: Forked) -> None:
    """Kill an agent that nobody waits for any more: its session may have another one by now."""
    if forked.pid is None or forked.start_ticks is None:
        return
    pidfd = open_pidfd(ProcessId(forked.pid, forked.start_ticks))
    if pidfd is not None:
        log.warning("a fork came too late", session_id=forked.session_id, pid=forked.pid)
        send(pidfd, signal.SIGKILL)
        os.close(pidfd)
