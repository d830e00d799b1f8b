"""Tests that hear what is spoken, or hold a promise in seconds, run while no other test does.

A machine without idle processors tears the sound, and keeps nobody's time.

A lock between the processes of one run: each test shares it, one marked ``alone`` has it alone. Whoever waits stands in
a queue of one, so that a test that wants it alone is not passed by those that share it for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def turn(folder: Path, *, alone: bool) -> Iterator[None]:
    """Hold the lock in this folder, with others or alone."""
    lock = os.open(folder / "tests.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    queue = os.open(folder / "tests.queue", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
    try:
        fcntl.flock(queue, fcntl.LOCK_EX)
        fcntl.flock(lock, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield
    finally:
        fcntl.flock(lock, fcntl.LOCK_UN)
        os.close(lock)
        os.close(queue)
