"""One open event stream of an ASGI app, read as it comes; httpx's own transport waits for the end of an answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Message

PATIENCE_S = 10.0


@dataclass(frozen=True)
class Event:
    name: str
    data: Any


class Stream:
    """What a client sees of it. One that is ``stuck`` does not read: events do not get away."""

    def __init__(
        self, app: ASGIApp, path: str, headers: Mapping[str, str], *, stuck: bool = False, method: str = "GET"
    ) -> None:
        self.status = 0
        self.headers: dict[str, str] = {}
        self.comments = 0
        self.retry_ms = 0
        self.ended = False
        """The server sent the end of the answer."""
        self._chunks: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._text = ""
        self._started, self._gone = asyncio.Event(), asyncio.Event()
        self._asked = False
        self._stuck = stuck
        self._scope = {
            "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": method,
            "scheme": "http", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
            "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
            "client": ("127.0.0.1", 1), "server": ("greenroom", 80),
        }  # fmt: skip
        self.task = asyncio.create_task(self._run(app))

    async def _run(self, app: ASGIApp) -> None:
        try:
            await app(self._scope, self._receive, self._send)
        finally:
            self._started.set()
            self._chunks.put_nowait(None)

    async def _receive(self) -> Message:
        if not self._asked:
            self._asked = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await self._gone.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            self._started.set()
            return
        if self._stuck and message.get("body", b"").startswith(b"event: "):
            await asyncio.Event().wait()
        self.ended = not message.get("more_body", False)
        if message.get("body"):
            self._chunks.put_nowait(message["body"])

    async def opened(self) -> None:
        async with asyncio.timeout(PATIENCE_S):
            await self._started.wait()

    async def next(self, name: str | None = None) -> Event:
        """The next event (of this name); fails the test when the stream ends before."""
        async with asyncio.timeout(PATIENCE_S):
            while True:
                event = await self._next()
                assert event is not None, "the stream ended"
                if name in (None, event.name):
                    return event

    async def rest(self) -> list[Event]:
        """The events until the end."""
        found = []
        async with asyncio.timeout(PATIENCE_S):
            while (event := await self._next()) is not None:
                found.append(event)
            await self.task
        return found

    def waiting(self) -> int:
        """How many chunks came that were not read."""
        return self._chunks.qsize()

    async def comment(self) -> None:
        """Wait for one more comment than was seen."""
        seen = self.comments
        async with asyncio.timeout(PATIENCE_S):
            while self.comments == seen:
                assert await self._block(), "the stream ended"

    async def gone(self) -> None:
        """The client goes away."""
        self._gone.set()
        async with asyncio.timeout(PATIENCE_S):
            await self.task

    async def _next(self) -> Event | None:
        while True:
            block = await self._block()
            if block is None:
                return None
            fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
            if "event" in fields:
                return Event(fields["event"], json.loads(fields["data"]))

    async def _block(self) -> str | None:
        while "\n\n" not in self._text:
            chunk = await self._chunks.get()
            if chunk is None:
                return None
            self._text += chunk.decode()
        block, _, self._text = self._text.partition("\n\n")
        if block.startswith(":"):
            self.comments += 1
        if block.startswith("retry: "):
            self.retry_ms = int(block.removeprefix("retry: "))
        return block


@asynccontextmanager
async def stream(
    app: ASGIApp, path: str, headers: Mapping[str, str] | None = None, *, stuck: bool = False, method: str = "GET"
) -> AsyncIterator[Stream]:
    """An open stream; at the end its client goes away."""
    opened = Stream(app, path, headers or {}, stuck=stuck, method=method)
    try:
        await opened.opened()
        yield opened
    finally:
        await opened.gone()
