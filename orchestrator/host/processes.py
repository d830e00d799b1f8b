"""Processes by their identity: watched through a pidfd, signalled only while they are who they were."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contract.procfs import SESSION_FIELD, START_FIELD, STATE_FIELD, start_ticks, stat_fields

_GONE = (FileNotFoundError, ProcessLookupError)
PASSES = 100
"""Over all processes, in search of those that a dying session still starts."""


@dataclass(frozen=True)
class ProcessId:
    """A PID alone is reused; with the start time it names one process of this boot."""

    pid: int
    start_ticks: int


def is_alive(process: ProcessId) -> bool:
    """Whether this very process runs (a zombie does not)."""
    try:
        fields = stat_fields(process.pid)
    except _GONE:
        return False
    return fields[STATE_FIELD] != "Z" and int(fields[START_FIELD]) == process.start_ticks


def open_pidfd(process: ProcessId) -> int | None:
    """A file descriptor that becomes readable when the process dies; None when it is gone, or is another one."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return None
    # The descriptor holds whoever has the PID now: only after the check is it known to be ours.
    if is_alive(process):
        return fd
    os.close(fd)
    return None


def send(pidfd: int | None, number: signal.Signals) -> None:
    """Signal the process behind the descriptor, if there still is one; nobody else can be hit."""
    if pidfd is not None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(pidfd, number)


def kill_session(leader: ProcessId) -> int:
    """SIGKILL whatever is left of a process's session (agents are session leaders); returns how many were hit.

    While a member lives, the kernel does not give the leader's PID to a new process. If a process with that PID runs
    that is not the leader, then all members are gone and the number is somebody else's: nothing is signalled.
    """
    with suppress(*_GONE):
        if start_ticks(leader.pid) != leader.start_ticks:
            return 0
    killed = 0
    for _ in range(PASSES):
        hit = sum(_kill_member(pid, leader.pid) for pid in all_pids())
        killed += hit
        if not hit:
            break
    return killed


def _kill_member(pid: int, session: int) -> bool:
    try:
        fields = stat_fields(pid)
        if int(fields[SESSION_FIELD]) != session or fields[STATE_FIELD] == "Z":
            return False
        fd = os.pidfd_open(pid)
    except _GONE:
        return False
    try:
        if int(stat_fields(pid)[SESSION_FIELD]) != session:
            return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except _GONE:
        return False
    else:
        return True
    finally:
        os.close(fd)


def all_pids() -> Iterator[int]:
    """Every process of this machine."""
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def be_nice(pid: int, nice: int) -> None:
    """Where the kernel schedules sessions as groups (sched(7), autogroup), it is the group's niceness that counts.

    Only root may say so of a hidden process; without it, the group has as much as any other.
    """
    with suppress(OSError):
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))
