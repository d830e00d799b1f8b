"""A connection that takes too long, or that nobody waits for any more, is left to its end, and the room then left."""

from __future__ import annotations

import asyncio

import pytest
from livekit import rtc

from orchestrator.adapters.livekit_connect import connect


class SlowRoom:
    """A LiveKit room that is in when ``goes_on`` is set."""

    def __init__(self, *, fails: bool = False) -> None:
        self.goes_on = asyncio.Event()
        self.left = asyncio.Event()
        self.was_cancelled = False
        self.is_in = False
        self._fails = fails

    async def connect(self, url: str, token: str, options: rtc.RoomOptions) -> None:
        try:
            await self.goes_on.wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise
        if self._fails:
            raise rtc.ConnectError("refused")
        self.is_in = True

    async def disconnect(self) -> None:
        assert self.is_in, "before that it would do nothing"
        self.left.set()


async def _begun(room: SlowRoom, timeout_s: float | None = None) -> asyncio.Task[None]:
    task = asyncio.create_task(connect(room, "ws://livekit", "t0ken", timeout_s=timeout_s))  # type: ignore[arg-type]
    await asyncio.sleep(0)
    return task


async def _is_left_once_in(room: SlowRoom) -> None:
    assert not room.was_cancelled
    room.goes_on.set()
    async with asyncio.timeout(5):
        await room.left.wait()


async def test_in_time() -> None:
    room = SlowRoom()
    task = await _begun(room, timeout_s=60)
    room.goes_on.set()
    await task
    assert room.is_in
    assert not room.left.is_set()


async def test_too_late() -> None:
    room = SlowRoom()
    with pytest.raises(TimeoutError):
        await (await _begun(room, timeout_s=0.01))
    await _is_left_once_in(room)


async def test_nobody_waits_for_it_any_more() -> None:
    room = SlowRoom()
    task = await _begun(room)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await _is_left_once_in(room)


async def test_refused() -> None:
    room = SlowRoom(fails=True)
    room.goes_on.set()
    with pytest.raises(rtc.ConnectError, match="refused"):
        await (await _begun(room, timeout_s=60))


async def test_refused_when_nobody_waits_for_it_any_more() -> None:
    room = SlowRoom(fails=True)
    with pytest.raises(TimeoutError):
        await (await _begun(room, timeout_s=0.01))
    room.goes_on.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not room.left.is_set()
