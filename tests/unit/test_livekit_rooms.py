"""A LiveKit server that does not answer, and what is no LiveKit server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from orchestrator.adapters import livekit_rooms
from orchestrator.adapters.livekit_rooms import LiveKitKey, LiveKitRooms
from orchestrator.domain.errors import RoomsUnavailableError, RoomsUnreachableError


@contextlib.asynccontextmanager
async def rooms_of(port: int) -> AsyncIterator[LiveKitRooms]:
    key = LiveKitKey(f"ws://127.0.0.1:{port}", "key", "s" * 32)
    rooms = LiveKitRooms(key, empty_timeout_s=60, departure_timeout_s=60)
    try:
        yield rooms
    finally:
        await rooms.aclose()


@contextlib.asynccontextmanager
async def rooms_where(status: int, text: str) -> AsyncIterator[LiveKitRooms]:
    """Something answers every request with this; with status 0 it says this instead of an answer, and hangs up."""

    async def answer(request: web.Request) -> web.Response:
        if status:
            return web.Response(status=status, text=text, content_type="application/json")
        transport = request.transport
        assert isinstance(transport, asyncio.WriteTransport)
        transport.write(text.encode())
        transport.close()
        return web.Response()

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    async with TestServer(app, host="127.0.0.1") as server, rooms_of(server.port or 0) as rooms:
        yield rooms


@pytest.fixture
async def rooms(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[LiveKitRooms]:
    monkeypatch.setattr(livekit_rooms, "REQUEST_TIMEOUT_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        async with rooms_of(silent.getsockname()[1]) as rooms:
            yield rooms


@pytest.mark.timeout(30)
@pytest.mark.parametrize("call", ["create", "delete", "ping"])
async def test_it_is_not_waited_for(rooms: LiveKitRooms, call: str) -> None:
    """The library's own time-outs are up to a minute, longer than a task may take."""
    asked = {"create": lambda: rooms.create("r"), "delete": lambda: rooms.delete("r"), "ping": rooms.ping}[call]
    with pytest.raises(RoomsUnreachableError, match="does not answer"):
        await asked()


async def test_so_is_one_that_hangs_up() -> None:
    async with rooms_where(0, "") as rooms:
        with pytest.raises(RoomsUnreachableError, match="does not answer"):
            await rooms.ping()


@pytest.mark.parametrize(
    ("status", "text", "reason"),
    [
        (503, '{"code": "unavailable", "msg": "no redis"}', "LiveKit refused: no redis"),
        (429, '{"code": "resource_exhausted", "msg": "slowly"}', "LiveKit refused: slowly"),
        (401, "invalid API key: key", "LiveKit refused: HTTP 401; check LIVEKIT_URL, LIVEKIT_API_KEY"),
        (502, "<html>Bad Gateway</html>", "LiveKit refused: HTTP 502; check LIVEKIT_URL"),
        (404, '["not", "an object"]', "what answers at LIVEKIT_URL is no LiveKit server"),
        (200, "<!doctype html><html>Please log in</html>", "what answers at LIVEKIT_URL is no LiveKit server"),
        (0, "SSH-2.0-OpenSSH_9.2\r\n", "what answers at LIVEKIT_URL is no LiveKit server"),
    ],
)
@pytest.mark.parametrize("call", ["create", "delete", "sid", "ping"])
async def test_a_refusal_is_an_answer_whoever_it_is_from(status: int, text: str, reason: str, call: str) -> None:
    """A host whose requests are refused is not cut off (``Fence``)."""
    async with rooms_where(status, text) as rooms:
        asked = {
            "create": lambda: rooms.create("r"),
            "delete": lambda: rooms.delete("r"),
            "sid": lambda: rooms.sid("r"),
            "ping": rooms.ping,
        }[call]
        with pytest.raises(RoomsUnavailableError) as caught:
            await asked()
    assert not isinstance(caught.value, RoomsUnreachableError)
    assert caught.value.detail.startswith(reason)
