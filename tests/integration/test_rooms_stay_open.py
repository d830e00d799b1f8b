"""A waiting agent is not thrown out of its room, and a user who was away finds it again.

LiveKit closes a room with only agents in it after ``empty_timeout``, and one that its user left after
``departure_timeout``. The server here has both at two seconds, where its own defaults are five minutes and twenty
seconds; a room that was not made by us shows that they work.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from livekit import api

from orchestrator.adapters.livekit_rooms import LiveKitKey, LiveKitRooms
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer, running
from tests.support.speech import joined, until

SHORT_TIMEOUTS = """
room:
  auto_create: true
  empty_timeout: 2
  departure_timeout: 2
"""


@pytest.fixture
def impatient_server(tmp_path: Path) -> Iterator[LiveKitServer]:
    server = LiveKitServer.create(tmp_path, extra_config=SHORT_TIMEOUTS)
    with running(server):
        yield server


async def test_our_rooms_outlast_the_servers_timeouts(impatient_server: LiveKitServer) -> None:
    server = impatient_server
    key = LiveKitKey(server.url, LIVEKIT_KEY, LIVEKIT_SECRET)
    rooms = LiveKitRooms(key, empty_timeout_s=3900, departure_timeout_s=330)
    await rooms.create("ours-waiting")
    await rooms.create("ours-left")
    async with (
        joined(server, "ours-waiting", "agent-1", agent=True) as waiting,
        joined(server, "ours-left", "agent-2", agent=True) as left,
        joined(server, "theirs", "agent-3", agent=True) as theirs,
    ):
        async with joined(server, "ours-left", "user"):
            await until(lambda: len(left.remote_participants) == 1, "the user is seen")
        await until(lambda: not left.remote_participants, "the user has left")
        await until(lambda: not theirs.isconnected(), "a room that is not ours is closed by its time-out", timeout_s=30)

        assert waiting.isconnected()
        assert left.isconnected()
        async with joined(server, "ours-left", "user"):
            await until(lambda: len(left.remote_participants) == 1, "the user finds the same agent")
    settings = await _settings(server)
    assert settings == {"ours-waiting": (3900, 330), "ours-left": (3900, 330)}
    await rooms.aclose()


async def _settings(server: LiveKitServer) -> dict[str, tuple[int, int]]:
    async with api.LiveKitAPI(server.url, LIVEKIT_KEY, LIVEKIT_SECRET) as client:
        listed = await client.room.list_rooms(api.ListRoomsRequest())
    return {room.name: (room.empty_timeout, room.departure_timeout) for room in listed.rooms}
