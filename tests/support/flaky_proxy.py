"""A TCP proxy that now and then drops what the server answered and closes the connection.

The server has then done what it was asked, and the client does not know: the fault that doubles or leaks things.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

CHUNK_BYTES = 65_536


@dataclass
class FlakyProxy:
    """In front of one port of this machine. ``rate`` is the share of answers that are dropped."""

    target_port: int
    rate: float = 0.0
    seed: int = 0
    dropped: int = 0
    port: int = 0
    _next: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def drop_next(self, count: int = 1) -> None:
        """Drop so many answers from now on."""
        self._next += count

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with contextlib.suppress(OSError):  # nobody there: who connected is hung up on
                upstream = await asyncio.open_connection("127.0.0.1", self.target_port)
                await self._both_ways(reader, writer, *upstream)
        except asyncio.CancelledError:
            return  # ``stop`` cancels us; asyncio's stream server reports a cancelled handler as an error
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _both_ways(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        up_reader: asyncio.StreamReader,
        up_writer: asyncio.StreamWriter,
    ) -> None:
        pumps = {
            asyncio.create_task(self._pump(reader, up_writer, answers=False)),
            asyncio.create_task(self._pump(up_reader, writer, answers=True)),
        }
        self._tasks |= pumps
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            up_writer.close()
            for pump in pumps:
                pump.cancel()
            self._tasks -= pumps

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if answers and self._drops():
                    return
                writer.write(data)
                await writer.drain()

    def _drops(self) -> bool:
        drop = self._next > 0 or self._random.random() < self.rate
        self._next = max(0, self._next - 1)
        self.dropped += drop
        return drop

    async def stop(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@contextlib.asynccontextmanager
async def flaky_proxy(target_port: int, *, rate: float = 0.0, seed: int = 0) -> AsyncIterator[FlakyProxy]:
    """A proxy on a free port, ended with all its connections."""
    proxy = FlakyProxy(target_port, rate, seed)
    server = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.stop()
        await server.wait_closed()
