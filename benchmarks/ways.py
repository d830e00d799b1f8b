"""Ways of having an agent in a user's room: Greenroom, a program for each agent, livekit-agents' own worker.

All on one LiveKit server, with the same agent (``benchmarks.quiet_agent``) and the same user's side.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Protocol

from livekit import api

from benchmarks.ordinary_agents import end_program, ordinary_agent
from benchmarks.room_user import RoomUser
from orchestrator.adapters.livekit_rooms import LiveKitKey, LiveKitTokens
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer

LOOK_S = 0.1
READY_S = 120.0


class Way(Protocol):
    """One way, while it runs."""

    waits: bool
    """Whether it has agents, or processes for them, before anybody clicks."""

    async def call(self, user: RoomUser) -> None:
        """From the user's click to the user in the room, whose name it is told as soon as there is one.

        The agent may come later.
        """

    async def ready(self, idle: int) -> None:
        """Wait until so many agents are idle and none is in a room with a user."""

    async def end(self, rooms: list[str]) -> None:
        """End these rooms' agents."""

    def idle_pids(self) -> list[int]:
        """Of the agents that wait, while no other runs."""

    def pid(self, room: str) -> int:
        """Of the agent in this room."""


class Rooms:
    """The LiveKit server's API, with the tokens and the ends of rooms that a way without Greenroom needs."""

    def __init__(self, url: str, livekit: api.LiveKitAPI) -> None:
        self.url = url
        self.api = livekit
        self._tokens = LiveKitTokens(LiveKitKey(url, LIVEKIT_KEY, LIVEKIT_SECRET))

    @classmethod
    @contextlib.asynccontextmanager
    async def of(cls, server: LiveKitServer) -> AsyncIterator[Rooms]:
        """Of this server; the HTTP client is closed afterwards."""
        async with api.LiveKitAPI(server.url, LIVEKIT_KEY, LIVEKIT_SECRET) as livekit:
            yield cls(server.url, livekit)

    def for_user(self, room: str) -> str:
        """A user's token for this room."""
        return self._tokens.user(room, "user", "User", issued_at=time.time() - 10, ttl_s=600)

    def for_agent(self, room: str) -> str:
        """Its agent's."""
        return self._tokens.agent(room, issued_at=time.time() - 10, ttl_s=600)

    async def delete(self, room: str) -> None:
        """Delete it; harmless when there is none."""
        with contextlib.suppress(api.TwirpError):
            await self.api.room.delete_room(api.DeleteRoomRequest(room=room))


class Programs:
    """One program for each agent, started at the click."""

    waits = False

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._programs: dict[str, subprocess.Popen[bytes]] = {}

    async def call(self, user: RoomUser) -> None:
        """See ``ways.Way``."""
        room = user.room_name = room_name()
        self._programs[room] = ordinary_agent(self._rooms.url, self._rooms.for_agent(room), room)
        await user.join(self._rooms.url, self._rooms.for_user(room))

    async def ready(self, idle: int) -> None:
        """There is never one that waits."""

    async def end(self, rooms: list[str]) -> None:
        """See ``ways.Way``."""
        for program in self._programs.values():
            end_program(program)
        self._programs.clear()
        await asyncio.gather(*map(self._rooms.delete, rooms))

    def idle_pids(self) -> list[int]:
        """See ``ways.Way``."""
        return []

    def pid(self, room: str) -> int:
        """See ``ways.Way``."""
        return self._programs[room].pid


@contextlib.asynccontextmanager
async def programs(server: LiveKitServer) -> AsyncIterator[Way]:
    """Nothing runs before the first click."""
    async with Rooms.of(server) as rooms:
        yield Programs(rooms)


async def until(look: Callable[[], Awaitable[bool]], what: str) -> None:
    """Wait until it is so.

    Raises:
        TimeoutError: it is not within ``READY_S``.
    """
    deadline = time.monotonic() + READY_S
    while not await look():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        await asyncio.sleep(LOOK_S)


def room_name() -> str:
    """A new one, in the form of a session's id."""
    return f"session_{secrets.token_hex(16)}"
