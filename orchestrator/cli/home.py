"""The data folder (``GREENROOM_HOME``): its layout, and that one run at a time uses it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep

from orchestrator.cli.console import CommandError

SOCKET_PATH_MAX = 107
"""``sockaddr_un`` has room for so many characters."""
LONGEST_SOCKET = "supervisor.sock.4194304"
"""supervisord binds to a name that ends in its PID and renames it."""
ENDING_S = 20.0
"""How long the programs of a run that was killed may take to end."""


@dataclass(frozen=True)
class Home:
    """The data folder of one installation."""

    path: Path

    @property
    def log(self) -> Path:
        """What all programs wrote, newest last."""
        return self.path / "logs" / "greenroom.log"

    @property
    def sections(self) -> Path:
        """The sections of supervisord for the servers that are ours in this run."""
        return self.path / "supervisor.d"

    @property
    def supervisor_pidfile(self) -> Path:
        """Written by supervisord; named in ``supervisord.conf``."""
        return self.path / "supervisord.pid"

    def prepare(self) -> None:
        """Make the folders.

        Raises:
            CommandError: the folder's name is too long for a socket in it, or it cannot be written.
        """
        room = SOCKET_PATH_MAX - len(LONGEST_SOCKET) - 1
        if len(os.fsencode(self.path)) > room:
            raise CommandError(
                f"GREENROOM_HOME: {self.path} is too long for the sockets in it: choose one of at most"
                f" {room} characters"
            )
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.log.parent, self.sections):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise CommandError(f"GREENROOM_HOME: {self.path} cannot be written ({error.strerror})") from None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs out of this folder, and wait for the end of one that was killed.

        Raises:
            CommandError: another run uses it.
        """
        with (self.path / "lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise CommandError(
                    f"`greenroom run` (PID {file.read().strip() or 'unknown'}) already uses {self.path}:"
                    " end it, or choose another folder with GREENROOM_HOME=…"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            self._wait_for_previous()
            yield

    def _wait_for_previous(self) -> None:
        deadline = monotonic() + ENDING_S
        while pid := self._supervisord():
            if monotonic() > deadline:
                raise CommandError(f"a supervisord (PID {pid}) of an earlier run still uses {self.path}: `kill {pid}`")
            sleep(0.1)

    def _supervisord(self) -> int | None:
        """Return the PID of a supervisord that runs from this folder."""
        import psutil

        with contextlib.suppress(OSError, ValueError, psutil.Error):
            pid = int(self.supervisor_pidfile.read_text())
            if str(self.path / "supervisord.conf") in psutil.Process(pid).cmdline():
                return pid
        return None

    def remove_sockets(self) -> None:
        """Remove what killed programs left; only for when none of them runs."""
        for folder, _, names in os.walk(self.path):
            for name in names:
                path = Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    if stat.S_ISSOCK(path.lstat().st_mode):
                        path.unlink()
        self.supervisor_pidfile.unlink(missing_ok=True)


def section(name: str, argv: list[str], *, priority: int, stop_wait_s: int) -> str:
    """Return supervisord's section for one of the servers that ``greenroom run`` starts."""
    import shlex

    return (
        f"[program:{name}]\n"
        f"command={shlex.join(argv).replace('%', '%%')}\n"
        f"priority={priority}\n"
        "autorestart=true\n"
        "startsecs=1\n"
        "startretries=3\n"
        f"stopwaitsecs={stop_wait_s}\n"
        "stdout_logfile=/dev/stdout\n"
        "stdout_logfile_maxbytes=0\n"
        "redirect_stderr=true\n"
    )
