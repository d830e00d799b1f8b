"""How a process is named for ever: its PID and its start time, as proc(5) has them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

STATE_FIELD, PARENT_FIELD, SESSION_FIELD, START_FIELD = 0, 1, 3, 19
"""Indexes into what ``stat_fields`` returns: fields 3, 4, 6 and 22 of proc(5)."""


def start_ticks(pid: int) -> int:
    """When a process started, in clock ticks since boot: field 22 of ``/proc/<pid>/stat``.

    Raises:
        FileNotFoundError, ProcessLookupError: there is no such process.
    """
    return int(stat_fields(pid)[START_FIELD])


def stat_fields(pid: int) -> list[str]:
    """The fields of ``/proc/<pid>/stat`` from the third (state) on.

    The second field is the name in parentheses, which may itself have blanks, parentheses, and bytes that are no text.

    Raises:
        FileNotFoundError, ProcessLookupError: there is no such process.
    """
    return _fields(Path(f"/proc/{pid}/stat"))


def thread_stat_fields(pid: int) -> Iterator[list[str]]:
    """As ``stat_fields``, of each of its threads; the main one comes first.

    Raises:
        FileNotFoundError, ProcessLookupError: there is no such process.
    """
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it came to its end
            yield _fields(thread / "stat")


def _fields(stat: Path) -> list[str]:
    return stat.read_text(errors="replace").rpartition(")")[2].split()


def boot_id() -> str:
    """This boot of this machine: with it, a PID and a start time are unique across reboots."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def private_bytes(pid: int | str) -> int:
    """``Private_Dirty`` of a process, in bytes; 0 when it is gone, or hides it from this one."""
    with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Private_Dirty:"):
                return int(line.split()[1]) * 1024
    return 0
