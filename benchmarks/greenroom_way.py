"""Greenroom as a way of having an agent in a user's room."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

from benchmarks import quiet_agent
from benchmarks.room_user import RoomUser
from benchmarks.ways import Way, until
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer
from tests.support.system import System, running_system

TOP = Path(__file__).parents[1]
FOLLOW_AGAIN_S = 0.1


@contextlib.asynccontextmanager
async def greenroom(server: LiveKitServer, folder: Path, idle: int, most: int) -> AsyncIterator[Way]:
    """All of ``greenroom run`` with a pool of so many and at most so many agents; otherwise its defaults."""
    settings = {
        "LIVEKIT_URL": server.url,
        "LIVEKIT_API_KEY": LIVEKIT_KEY,
        "LIVEKIT_API_SECRET": LIVEKIT_SECRET,
        "AGENT": quiet_agent.NAME,
        "PYTHONPATH": str(TOP),
        "PREWARM_POOL_SIZE": str(idle),
        "POOL_CAP": "0",  # as many as the worker has idle, and never more
        "MAX_BOTS": str(most),
        # Calls of seconds are all beginning, which is no measure of what a call takes; `most` is what there may be.
        "PROCESSORS_PERCENT": "0",
    }
    with running_system(folder, **settings) as system:
        # Browsers share no connections; and one that is kept may be closed by the server the moment it is used again.
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(system.url, connector=connector) as http:
            yield Greenroom(system, http)


class Greenroom:
    """As ``greenroom run`` starts it; each click is what the talk page does."""

    waits = True

    def __init__(self, system: System, http: aiohttp.ClientSession) -> None:
        self._system = system
        self._http = http

    async def call(self, user: RoomUser) -> None:
        """See ``ways.Way``."""
        answer = await self._post("/api/session/start", {"userId": secrets.token_hex(4), "userName": "User"})
        session_id: str = answer["sessionId"]
        user.room_name = session_id
        if "join" not in answer:
            await self._started(session_id)
            answer = {"join": await self._post("/api/token", {"sessionId": session_id, "userName": "User"})}
        await user.join(answer["join"]["url"], answer["join"]["token"])

    async def ready(self, idle: int) -> None:
        """See ``ways.Way``."""

        async def look() -> bool:
            return self._system.pool().get("ready") == idle == len(self.idle_pids())

        await until(look, f"{idle} warm agents")

    async def end(self, rooms: list[str]) -> None:
        """See ``ways.Way``."""
        await asyncio.gather(*map(self._delete, rooms))

    def idle_pids(self) -> list[int]:
        """See ``ways.Way``."""
        return sorted(self._system.agent_pids())

    def pid(self, room: str) -> int:
        """See ``ways.Way``."""
        pid: int = self._system.session(room)["agentPid"]
        return pid

    async def _post(self, path: str, body: dict[str, str]) -> dict[str, Any]:
        async with self._http.post(path, json=body) as answer:
            found: dict[str, Any] = await answer.json()
        if not found["success"]:
            raise RuntimeError(f"{path}: {found}")
        return found

    async def _started(self, session_id: str) -> None:
        """Wait until it is ready, by its events; where these end before, they are followed anew."""
        while (status := await self._status_after(session_id)) == "starting":
            await asyncio.sleep(FOLLOW_AGAIN_S)
        if status not in ("ready", "active"):
            raise RuntimeError(f"{session_id} is {status}")

    async def _status_after(self, session_id: str) -> str:
        status = "starting"
        async with self._http.get(f"/api/session/{session_id}/events") as events:
            async for line in events.content:
                if line.startswith(b"data:") and (status := json.loads(line[5:])["status"]) != "starting":
                    break
        return status

    async def _delete(self, room: str) -> None:
        async with self._http.delete(f"/api/session/{room}") as answer:
            await answer.read()
