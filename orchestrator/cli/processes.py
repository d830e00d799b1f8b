"""supervisord as a child that cannot outlive us, and the end of every process below us."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from contract.prctl import become_subreaper

PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)


def start_supervisord(config: Path, environ: Mapping[str, str], errors: Path) -> subprocess.Popen[bytes]:
    """Start supervisord in a session of its own, so that Ctrl-C reaches us alone; call it in the main thread.

    Its standard error goes to the file ``errors``: after our death our pipe is broken, and supervisord would
    fall over a broken standard error, of all things while it is ending the others.
    """
    parent = os.getpid()

    def in_child() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        become_subreaper()
        _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
        if os.getppid() != parent:  # we died before the line above: nobody would tell it
            os._exit(1)

    with errors.open("wb") as stderr:
        return subprocess.Popen(
            ["supervisord", "-n", "-c", str(config)],
            env=dict(environ),
            executable=_which(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,
            preexec_fn=in_child,  # noqa: PLW1509 - no thread of ours runs yet
        )


def _which(environ: Mapping[str, str]) -> str:
    return str(Path(environ["PATH"].split(os.pathsep)[0], "supervisord"))


def end_descendants(grace_s: float) -> list[str]:
    """End all processes below us, with SIGTERM and then SIGKILL; return the names of those killed.

    psutil knows a process by its PID and start time: one that took over a PID is never signalled.
    """
    for process in _descendants():
        with contextlib.suppress(psutil.Error):
            process.terminate()
    psutil.wait_procs(_descendants(), timeout=grace_s)
    killed = []
    while left := _descendants():  # again: what was ending may have started another
        for process in left:
            with contextlib.suppress(psutil.Error):
                killed.append(process.name())
                process.kill()
        psutil.wait_procs(left, timeout=1)
    _reap()
    return killed


def _descendants() -> list[psutil.Process]:
    _reap()
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _reap() -> None:
    """Collect children that ended, those that we adopted included."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
