"""ECS's agent on a port of this machine, as far as task protection goes, by Amazon's documentation of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

TASK = "arn:aws:ecs:eu-central-1:111122223333:task/greenroom/1234567890abcdef0"


@dataclass
class EcsAgent:
    """What it was asked, and how it answers."""

    heard: list[dict[str, Any]] = field(default_factory=list)
    refusal: dict[str, Any] | None = None
    uri: str = ""

    @property
    def protected(self) -> bool:
        return bool(self.heard and self.heard[-1]["ProtectionEnabled"])

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = json.loads(await reader.readexactly(int(headers["content-length"])))
        status, answer = "200 OK", self._answer(head[0], body)
        if self.refusal is not None:
            status, answer = "400 Bad Request", self.refusal
        data = json.dumps(answer).encode()
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(data)}\r\nConnection: close\r\n\r\n".encode() + data)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    def _answer(self, request: str, body: dict[str, Any]) -> dict[str, Any]:
        assert request == "PUT /api/4f0c/task-protection/v1/state HTTP/1.1"
        assert body.keys() <= {"ProtectionEnabled", "ExpiresInMinutes"}
        assert isinstance(body["ProtectionEnabled"], bool)
        assert 1 <= body.get("ExpiresInMinutes", 120) <= 2880
        if self.refusal is None:
            self.heard.append(body)
        expires = {"ExpirationDate": "2026-11-26T08:00:00Z"} if body["ProtectionEnabled"] else {}
        return {"protection": {"ProtectionEnabled": body["ProtectionEnabled"], "TaskArn": TASK, **expires}}


@asynccontextmanager
async def ecs_agent() -> AsyncIterator[EcsAgent]:
    agent = EcsAgent()
    server = await asyncio.start_server(agent.serve, "127.0.0.1", 0)
    agent.uri = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/api/4f0c"
    async with server:
        yield agent
