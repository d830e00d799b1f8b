"""``greenroom run``: everything on this machine, under supervisord, until Ctrl-C.

Signals are blocked and waited for, never handled in between: whatever this program does, it does to the end.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from pathlib import Path
from time import monotonic
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from contract.prctl import become_subreaper
from orchestrator.cli import console, processes, provision
from orchestrator.cli.console import CommandError, Waiting
from orchestrator.cli.environment import PROVIDERS, reachable_at
from orchestrator.cli.home import Home
from orchestrator.cli.programs_log import ProgramsLog
from orchestrator.cli.readiness import why_not_ready
from orchestrator.cli.retire import retire_host

if TYPE_CHECKING:
    from orchestrator.settings import Settings

READY_S = 120.0
NEVER_READY = "its zygote is failed"
"""What readiness says of an agent that cannot be imported: waiting does not mend it."""
POLL_S = 0.2
STOP_S = 100.0
"""For the programs' own endings; the worker may finish a task of 70 s."""
FORCED_S = 4.0
"""From SIGTERM to SIGKILL where supervisord is gone or too slow: above what the host gives its agents."""

_HANGUP = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN else set()  # nohup
_ENDING = frozenset({signal.SIGINT, signal.SIGTERM}) | _HANGUP
_WATCHED = _ENDING | {signal.SIGCHLD}


class _AskedToEnd(Exception):  # noqa: N818 - it is none
    """Ctrl-C, or a signal that means the same."""


def run(
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show every line of every program.")] = False,
) -> None:
    """Start everything on this machine, wait until it is healthy, and end it all at Ctrl-C.

    Settings come from the environment, then from .env in this folder, which is made with generated
    secrets if there is none.
    """
    signal.signal(signal.SIGTERM, _as_interrupt)
    settings, servers = provision.read_environment(Path.cwd())
    home = Home(settings.greenroom_home.absolute())
    home.prepare()
    with home.locked():
        config = provision.provision(home, settings, servers)
        _Run(home, settings, config, verbose=verbose).main()


def _as_interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # while preparing: what was begun is cleaned up on the way out


class _Run:
    """The programs of one run, from the first start to the last end."""

    def __init__(self, home: Home, settings: Settings, config: Path, *, verbose: bool) -> None:
        self._home = home
        self._settings = settings
        self._config = config
        self._url = f"http://{reachable_at(settings.bind)}:{settings.port}"
        self._log = ProgramsLog(home.log, _show, verbose=verbose)
        self._errors = home.path / "logs" / "supervisord.err"
        self._supervisord: subprocess.Popen[bytes] | None = None

    def main(self) -> None:
        """Start, wait, end.

        Raises:
            CommandError: it did not become healthy, or a program was given up.
        """
        signal.pthread_sigmask(signal.SIG_BLOCK, _WATCHED)
        become_subreaper()
        try:
            self._start()
            self._until_ready()
            self._say_where_to_go()
            self._until_supervisord_ends()
        except _AskedToEnd:
            pass
        except CommandError:
            self._show_tail()
            raise
        finally:
            self._stop()

    def _start(self) -> None:
        environ = provision.program_environment(self._home, self._settings, os.environ)
        self._supervisord = processes.start_supervisord(self._config, environ, self._errors)
        assert self._supervisord.stdout is not None  # noqa: S101
        self._log.follow(self._supervisord.stdout)

    def _until_ready(self) -> None:
        deadline = monotonic() + READY_S
        admin = self._settings.admin_token
        token = admin.get_secret_value() if admin else None
        with Waiting("starting redis, livekit, host, worker, beat and api").shown() as waiting:
            while (reason := why_not_ready(self._url, token)) is not None:
                if NEVER_READY in reason:
                    raise CommandError(
                        f"AGENT={self._settings.agent} cannot be loaded: {reason}; every line is in {self._home.log}"
                    )
                if monotonic() > deadline:
                    raise CommandError(
                        f"not healthy after {READY_S:.0f} s: {reason}; every line is in {self._home.log}"
                    )
                waiting.update(reason)
                self._sleep(POLL_S)

    def _until_supervisord_ends(self) -> None:
        while True:
            self._sleep(None)

    def _sleep(self, seconds: float | None) -> None:
        """Wait for a signal, then look what it means."""
        number = _next_signal(seconds)
        if number in _ENDING:
            raise _AskedToEnd
        if self._ended():
            self._log.close()  # its last line says why
            reason = self._log.critical or "supervisord was ended from outside: start again"
            raise CommandError(f"{reason}; every line is in {self._home.log}")

    def _ended(self) -> bool:
        return self._supervisord is None or self._supervisord.poll() is not None

    def _stop(self) -> None:
        agents = retire_host(self._settings.host_socket)
        if not self._ended():
            self._stop_in_order(agents)
        self._log.mute()
        killed = processes.end_descendants(FORCED_S)
        if killed:
            console.err.print(f"[yellow]killed what did not end: {escape(', '.join(sorted(set(killed))))}[/]")
        self._log.close()
        self._home.remove_sockets()
        console.out.print("everything has ended")

    def _stop_in_order(self, agents: int | None) -> None:
        assert self._supervisord is not None  # noqa: S101
        detail = f" and {agents} agents" if agents else ""
        with Waiting(f"ending all programs{detail}; Ctrl-C again to kill them").shown() as waiting:
            self._supervisord.terminate()
            deadline = monotonic() + STOP_S
            while not self._ended() and monotonic() < deadline:
                waiting.update()
                if _next_signal(POLL_S) in _ENDING:
                    return

    def _show_tail(self) -> None:
        for line in [*self._errors.read_text(errors="replace").splitlines()[-5:], *self._log.tail]:
            console.err.print(f"[dim]{escape(line)}[/]")

    def _say_where_to_go(self) -> None:
        command = _own_command()
        body = '{"userId": "me", "userName": "Me"}'
        lines = [
            f"[bold green]Greenroom is ready:[/] {self._url}  (open it in a browser and talk)",
            f"  operator console  {self._url}/console",
            f"  start a session   curl -s {self._url}/api/session/start"
            f" -H 'Content-Type: application/json' -d '{body}'",
            f'  talk to an agent  {command} talk --say "what time is it"',
            f"  see what runs     {command} status",
            "  admin token       ADMIN_TOKEN in .env"
            if os.environ.get("ADMIN_TOKEN")
            else "  admin token       ADMIN_TOKEN is not set: admin calls answer 403",
            f"  logs              {escape(str(self._home.log))}",
        ]
        if not any(os.environ.get(name) for name in PROVIDERS):
            lines.append(
                f"  voice             an offline demonstration, as no provider key is set ({', '.join(PROVIDERS)})"
            )
        lines.append("Ctrl-C ends everything.")
        for line in lines:
            console.out.print(line)


def _next_signal(timeout_s: float | None) -> int | None:
    if timeout_s is None:
        return signal.sigwaitinfo(_WATCHED).si_signo
    info = signal.sigtimedwait(_WATCHED, timeout_s)
    return info.si_signo if info else None


def _show(line: str) -> None:
    console.err.print(f"[yellow]{escape(line)}[/]")


def _own_command() -> str:
    """Return how to call this program again: by name where the path leads to it, else by file."""
    import sys

    own = Path(sys.executable).with_name("greenroom")
    if shutil.which("greenroom") == str(own):
        return "greenroom"
    return str(own.relative_to(Path.cwd()) if own.is_relative_to(Path.cwd()) else own)
