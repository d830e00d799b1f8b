"""A server that publishes the keys by which callers' tokens are signed, as an identity provider does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.servers import free_port


class Key:
    """One key pair, with its public half as it is published."""

    def __init__(self, kid: str) -> None:
        self.kid = kid
        self.private = ec.generate_private_key(ec.SECP256R1())
        public = jwt.algorithms.ECAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        self.published = {**public, "kid": kid, "use": "sig"}

    def token(self, **claims: Any) -> str:
        """A token of this key's, good for a minute."""
        claims = {"sub": "ada", "exp": time.time() + 60, **claims}
        return jwt.encode(claims, self.private, algorithm="ES256", headers={"kid": self.kid})


class KeyServer:
    """``answers`` is what it says; it says it while it is ``open``."""

    def __init__(self, *keys: Key) -> None:
        self.port = free_port()
        self.asked = 0
        self.open = asyncio.Event()
        self.open.set()
        self.publish(*keys)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/jwks"

    def publish(self, *keys: Key) -> None:
        self.answers = json.dumps({"keys": [key.published for key in keys]}).encode()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[KeyServer]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", self.port)
        try:
            yield self
        finally:
            self.open.set()
            server.close()
            await server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked += 1
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            await self.open.wait()
            head = f"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {len(self.answers)}\r\n\r\n"
            writer.write(head.encode() + self.answers)
            await writer.drain()
        writer.close()
