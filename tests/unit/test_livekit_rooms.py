"""A LiveKit server that is there and does not answer."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator

import pytest

from orchestrator.adapters import livekit_rooms
from orchestrator.adapters.livekit_rooms import LiveKitKey, LiveKitRooms
from orchestrator.domain.errors import RoomsUnavailableError


@pytest.fixture
async def rooms(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveKitRooms]:
    monkeypatch.setattr(livekit_rooms, "REQUEST_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        key = LiveKitKey(f"ws://127.0.0.1:{silent.getsockname()[1]}", "key", "s" * 32)
        rooms = LiveKitRooms(key, empty_timeout_s=60, departure_timeout_s=60)
        yield rooms
        await rooms.aclose()


@pytest.mark.timeout(30)
@pytest.mark.parametrize("call", ["create", "delete", "ping"])
async def test_it_is_not_waited_for(rooms: LiveKitRooms, call: str) -> None:
    """The library's own time-outs are up to a minute, longer than a task may take."""
    asked = {"create": lambda: rooms.create("r"), "delete": lambda: rooms.delete("r"), "ping": rooms.ping}[call]
    with pytest.raises(RoomsUnavailableError, match="does not answer"):
        await asked()
