"""Threads and the C library's heaps, in a process of their own: what was set cannot be taken back."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import ctypes, sys, threading
from orchestrator.host import heap

if sys.argv[1] == "one":
    heap.share_one()
together = threading.Barrier(6)


def work():
    together.wait()  # a heap that is free would be taken
    kept = [bytes(1000 * n) for n in range(100)]
    together.wait()


threads = [threading.Thread(target=work) for _ in range(6)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(libc.fdopen(1, b"w"))
libc.malloc_info(0, out)
libc.fflush(out)
"""


def heaps(which: str) -> int:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, which], capture_output=True, text=True, timeout=60, check=True
    )
    return done.stdout.count("<heap nr=")


def test_all_threads_share_one_heap() -> None:
    assert heaps("one") == 1
    assert heaps("many") > 1, "by default they do not: else this shows nothing"
