"""Processes by their identity: watched through a pidfd, signalled only while they are who they were."""

from __future__ import annotations

import os
import signal
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from contract.procfs import PARENT_FIELD, SESSION_FIELD, START_FIELD, STATE_FIELD, stat_fields, thread_stat_fields

_GONE = (FileNotFoundError, ProcessLookupError)
_DEAD, _AWAITING, _STOPPED = frozenset("ZX"), frozenset("RD"), frozenset("Tt")
THREADS_LOOKED_AT = 64
"""Of one process, the main one first: an agent has some thirty, and one with thousands is not to hold up its host."""
PASSES = 100
"""Over all processes, in search of those that a dying family still starts."""


@dataclass(frozen=True)
class ProcessId:
    """A PID alone is reused; with the start time it names one process of this boot."""

    pid: int
    start_ticks: int


@dataclass(frozen=True)
class Row:
    """What the kernel says of a process."""

    process: ProcessId
    parent: int
    session: int
    is_dead: bool
    """Dead, and not reaped yet."""
    is_stopped: bool
    """By a signal, or by who traces it: it does nothing until it is told to go on."""


def is_alive(process: ProcessId) -> bool:
    """Whether this very process runs (a zombie does not)."""
    try:
        fields = stat_fields(process.pid)
    except _GONE:
        return False
    return fields[STATE_FIELD] != "Z" and int(fields[START_FIELD]) == process.start_ticks


def awaits_processor(process: ProcessId) -> bool:
    """Whether it only lacks a processor, or its memory, to go on: a thread of it is in state R or D (proc(5)).

    All threads of one that is stopped, or waits for what never comes, sleep.
    """
    with suppress(*_GONE):
        threads = islice(thread_stat_fields(process.pid), THREADS_LOOKED_AT)
        return any(fields[STATE_FIELD] in _AWAITING for fields in threads)
    return False


def is_stopped(process: ProcessId) -> bool:
    """Whether it does nothing until it is told to go on: not even end, unless it is killed."""
    try:
        return stat_fields(process.pid)[STATE_FIELD] in _STOPPED
    except _GONE:
        return False


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


class Table:
    """Every process of this machine, at one moment."""

    def __init__(self) -> None:
        self.rows = dict(_rows())
        """By PID."""
        self._near: dict[int, list[ProcessId]] = defaultdict(list)
        """Whom a process started, and who is in the session that it led."""
        for row in self.rows.values():
            self._near[row.parent].append(row.process)
            self._near[row.session].append(row.process)

    def family(self, roots: Iterable[ProcessId]) -> frozenset[ProcessId]:
        """Those of these processes that are there, all that they started, and who is in a session that one of them led.

        While a member of a session lives, the kernel does not give its leader's PID to a new process. If a process with
        that PID runs that is not the leader, then all members are gone and the number is somebody else's: nobody of it.
        """
        found: set[ProcessId] = set()
        left = list(roots)
        while left:
            process = left.pop()
            row = self.rows.get(process.pid)
            if process not in found and (row is None or row.process == process):
                found.add(process)
                left += self._near[process.pid]
        return frozenset(process for process in found if process.pid in self.rows)


def _rows() -> Iterator[tuple[int, Row]]:
    for pid in all_pids():
        with suppress(*_GONE):
            fields = stat_fields(pid)
            process = ProcessId(pid, int(fields[START_FIELD]))
            parent, session, state = int(fields[PARENT_FIELD]), int(fields[SESSION_FIELD]), fields[STATE_FIELD]
            yield pid, Row(process, parent, session, is_dead=state in _DEAD, is_stopped=state in _STOPPED)


def kill_family(leader: ProcessId, known: Collection[ProcessId] = ()) -> int:
    """SIGKILL what is left of a process's family, itself included; returns how many were hit.

    ``known`` are members that were seen before: of what its parent left behind, the kernel does not say whose it was.
    The leader is stopped first and killed last, so that it starts no more meanwhile.
    """
    seen, killed = {leader, *known}, set()
    _hit(leader, signal.SIGSTOP)
    for _ in range(PASSES):
        seen |= Table().family(seen)
        hit = {process for process in seen - {leader} if _hit(process, signal.SIGKILL)}
        killed |= hit
        if not hit:
            break
    return len(killed) + _hit(leader, signal.SIGKILL)


def _hit(process: ProcessId, number: signal.Signals) -> bool:
    """Signal this very process; false where it is gone, or may not be signalled (it runs as another user)."""
    pidfd = open_pidfd(process)
    if pidfd is None:
        return False
    try:
        signal.pidfd_send_signal(pidfd, number)
    except (ProcessLookupError, PermissionError):
        return False
    else:
        return True
    finally:
        os.close(pidfd)


def all_pids() -> Iterator[int]:
    """Every process of this machine."""
    return (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def be_nice(pid: int, nice: int) -> bool:
    """Where the kernel schedules sessions as groups (sched(7), autogroup), it is the group's niceness that counts.

    Only root may say so of a hidden process, and more than ten times a second; returns whether it was done.
    """
    try:
        Path(f"/proc/{pid}/autogroup").write_text(str(nice))
    except OSError:
        return False
    return True
