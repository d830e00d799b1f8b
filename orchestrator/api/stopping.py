"""Hearing that the server is told to stop, before it waits for its open answers."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any


@contextmanager
def on_stop(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on the event loop when SIGTERM or SIGINT comes; whoever handled it before still does.

    The lifespan's own end is too late for this: uvicorn waits for open answers first, and a stream is one.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # signals are handled elsewhere
        return
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    handled = {number: handler for number, handler in before.items() if callable(handler)}
    for number, handler in handled.items():
        signal.signal(number, partial(_handle, loop, stop, handler))
    try:
        yield
    finally:
        for number, handler in handled.items():
            signal.signal(number, handler)


def _handle(
    loop: asyncio.AbstractEventLoop, stop: Callable[[], None], before: Callable[..., Any], number: int,
    frame: FrameType | None,
) -> None:  # fmt: skip
    loop.call_soon_threadsafe(stop)
    before(number, frame)
