"""What a process says of itself to the kernel, by prctl(2)."""

from __future__ import annotations

import ctypes
import os

_LIBC = ctypes.CDLL(None, use_errno=True)
"""Opened once: before the fork, for agents."""
PR_SET_DUMPABLE, PR_SET_NAME, PR_SET_CHILD_SUBREAPER = 4, 15, 36


def hide() -> None:
    """Let no other process of this user read this one's memory and environment, nor trace it; root still may.

    It holds for what is forked from now on, and ends where another program is executed. No core is dumped.

    Raises:
        OSError: the kernel refused.
    """
    _prctl(PR_SET_DUMPABLE, 0)


def set_name(name: str) -> None:
    """Be called this (15 bytes at most) in ``/proc/<pid>/comm``, which a hidden process may not write itself.

    Raises:
        OSError: the kernel refused.
    """
    _prctl(PR_SET_NAME, ctypes.c_char_p(name.encode()))


def become_subreaper() -> None:
    """Orphaned descendants become this process's children, so that it can reap them.

    Raises:
        OSError: the kernel refused.
    """
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def _prctl(option: int, value: int | ctypes.c_char_p) -> None:
    if _LIBC.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
