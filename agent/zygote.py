"""The zygote: imports everything heavy, maps every model, freezes the heap, then forks agents and does nothing else.

It has one thread, no event loop, no client and no LiveKit runtime, so that a fork copies nothing that cannot be
copied. It ends when its host's socket closes; its agents do not.

``python -m agent.zygote --fd N --agent module:callable``, with fd N a connected stream socket to the host.
"""

from __future__ import annotations

import argparse
import gc
import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from agent.confine import confine, limit_processes
from contract.messages import (
    MAX_MESSAGE_BYTES,
    Exited,
    Fork,
    Forked,
    ProtocolError,
    ZygoteFailed,
    ZygoteReady,
    parse_line,
)
from contract.prctl import hide
from contract.procfs import start_ticks

READ_BYTES = 65_536


def main() -> None:
    """Preload, report, serve."""
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--fd", type=int, required=True)
    arguments.add_argument("--agent", required=True)
    arguments.add_argument("--processes", type=int, default=0, help="of this user at most, all agents' together")
    arguments.add_argument("--home", help="tells a machine's zygotes apart, for who looks at them")
    options = arguments.parse_args()
    host = socket.socket(fileno=options.fd)
    host.set_inheritable(False)
    hide()
    if options.processes:
        limit_processes(options.processes)
    started = time.monotonic()
    # Before anything is imported, so that no collection dirties pages which the agents share.
    gc.disable()
    try:
        zygote = Zygote(host, options.agent)
    except (Exception, SystemExit) as error:  # the user's module may raise anything
        host.sendall(ZygoteFailed(reason=_one_line(error)).to_line())
        raise SystemExit(1) from error
    host.sendall(ZygoteReady(pid=os.getpid(), preload_s=time.monotonic() - started).to_line())
    zygote.serve()


class Zygote:
    """Preloaded, single-threaded, ready to fork."""

    def __init__(self, host: socket.socket, agent: str) -> None:
        from agent.loading import load_agent
        from agent.process import run_agent
        from agent.voices import preload

        preload()
        self._run_agent = run_agent
        self._factory = load_agent(agent)
        self._host = host
        self._buffer = b""
        self._wake_r, self._wake_w = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        threads = list(Path("/proc/self/task").iterdir())
        if len(threads) != 1:
            raise RuntimeError(f"the preload started {len(threads) - 1} threads; a fork would lose them (see AGENT)")
        gc.collect()
        gc.freeze()

    def serve(self) -> None:
        """Fork and reap until the host goes."""
        signal.set_wakeup_fd(self._wake_w, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        # A terminal's Ctrl-C is for the supervisor: it ends the host, and that ends this.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        while True:
            readable, _, _ = select.select([self._host.fileno(), self._wake_r], [], [])
            if self._wake_r in readable:
                with suppress(BlockingIOError):
                    os.read(self._wake_r, READ_BYTES)
                self._reap()
            if self._host.fileno() in readable and not self._read():
                return

    def _read(self) -> bool:
        data = self._host.recv(READ_BYTES)
        if not data:
            return False
        *lines, self._buffer = (self._buffer + data).split(b"\n")
        for line in lines:
            self._obey(line)
        if len(self._buffer) > MAX_MESSAGE_BYTES:
            sys.stderr.write("zygote: its host sends a line without an end\n")
            return False
        return True

    def _obey(self, line: bytes) -> None:
        try:
            message = parse_line(line)
        except ProtocolError as error:
            sys.stderr.write(f"zygote: refused a message: {error}\n")
            return
        if isinstance(message, Fork):
            self._host.sendall(self._fork(message).to_line())

    def _fork(self, request: Fork) -> Forked:
        try:
            pid = os.fork()
        except OSError as error:
            return Forked(session_id=request.session_id, error=f"fork: {error.strerror}")
        if pid == 0:
            self._become_agent(request)
        return Forked(session_id=request.session_id, pid=pid, start_ticks=start_ticks(pid))

    def _become_agent(self, request: Fork) -> NoReturn:
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            os.setsid()
            self._host.close()
            os.close(self._wake_r)
            os.close(self._wake_w)
            confine(request.limits)
            gc.enable()
            code = self._run_agent(request, self._factory)
        except BaseException as error:
            with suppress(Exception):
                sys.stderr.write(f"agent: {_one_line(error)}\n")
        finally:
            os._exit(code)

    def _reap(self) -> None:
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._host.sendall(Exited(pid=pid, status=os.waitstatus_to_exitcode(status)).to_line())


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:500]


if __name__ == "__main__":
    main()
