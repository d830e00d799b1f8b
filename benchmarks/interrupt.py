"""Ctrl-C in a benchmark that has started a whole system: everything is ended before the program is."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

INTERRUPTED = 130
"""The exit code then."""

T = TypeVar("T")


def run_to_end(program: str, coroutine: Coroutine[Any, Any, T]) -> T:
    """Run it in an event loop of its own; the first signal to end cancels it, and it is waited for all the same.

    Raises:
        asyncio.CancelledError: it was ended by a signal.
    """
    try:
        return asyncio.run(_run(program, coroutine))
    except asyncio.CancelledError:
        print(f"{program}: interrupted; everything that it started has ended", file=sys.stderr)
        raise


async def _run(program: str, coroutine: Coroutine[Any, Any, T]) -> T:
    running = asyncio.create_task(coroutine)

    def end() -> None:  # once: a second Ctrl-C must not cut the end short
        if not running.cancelling():
            print(f"{program}: ending everything", file=sys.stderr, flush=True)
            running.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, end)
    return await running
