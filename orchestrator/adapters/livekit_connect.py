"""Connecting to a LiveKit room so that it may be given up."""

from __future__ import annotations

import asyncio

from livekit import rtc

_let_go: set[asyncio.Task[None]] = set()
"""What the event loop alone would forget."""


async def connect(
    room: rtc.Room, url: str, token: str, options: rtc.RoomOptions | None = None, *, timeout_s: float | None = None
) -> None:
    """Connect, or give it up after ``timeout_s`` seconds or where this is cancelled.

    What was begun is never cancelled itself, but left to its end, and the room then left: of a room that it opened and
    nobody took up, livekit-rtc (1.x) makes a panic, and with that ends its whole process by SIGTERM.

    Raises:
        ConnectError: LiveKit cannot be reached, or refuses the token.
        TimeoutError: it took longer.
    """
    connecting = asyncio.ensure_future(room.connect(url, token, options or rtc.RoomOptions()))
    try:
        async with asyncio.timeout(timeout_s):
            await asyncio.shield(connecting)
    except (TimeoutError, asyncio.CancelledError):
        task = asyncio.create_task(_leave_once_in(room, connecting))
        _let_go.add(task)
        task.add_done_callback(_let_go.discard)
        raise


async def _leave_once_in(room: rtc.Room, connecting: asyncio.Future[None]) -> None:
    await asyncio.wait([connecting])
    if connecting.exception() is None:
        await room.disconnect()
