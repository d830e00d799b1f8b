"""A published port, as a container engine's own proxy does it: ``python -m tests.support.relay FROM TO PORT/udp …``.

What comes to FROM on a port goes on to the same port of TO, over TCP and UDP; each UDP caller has a socket of its own
there. A program by itself, so that it can run in a network namespace.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from typing import Any, cast

CHUNK_BYTES = 65_536


class Forward(asyncio.DatagramProtocol):
    """Callers' datagrams."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._ways: dict[Any, asyncio.Task[asyncio.DatagramTransport]] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        if addr not in self._ways:
            self._ways[addr] = asyncio.ensure_future(self._way(addr))
        self._ways[addr].add_done_callback(lambda way: way.result().sendto(data))

    async def _way(self, addr: Any) -> asyncio.DatagramTransport:
        loop = asyncio.get_running_loop()
        way, _ = await loop.create_datagram_endpoint(lambda: Back(self.transport, addr), remote_addr=self._target)
        return way


class Back(asyncio.DatagramProtocol):
    """The answers to one caller."""

    def __init__(self, caller: asyncio.DatagramTransport, addr: Any) -> None:
        self._caller = caller
        self._addr = addr

    def datagram_received(self, data: bytes, _: Any) -> None:
        self._caller.sendto(data, self._addr)


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _relay(source: str, target: str, ports: list[str]) -> None:
    loop = asyncio.get_running_loop()

    for name in ports:
        number, _, kind = name.partition("/")
        place = (target, int(number))
        if kind == "udp":
            await loop.create_datagram_endpoint(lambda place=place: Forward(place), local_addr=(source, int(number)))
        else:
            await asyncio.start_server(lambda r, w, place=place: _connect(r, w, place), source, int(number))
    print("ready", flush=True)
    await asyncio.Event().wait()


async def _connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, place: tuple[str, int]) -> None:
    there, back = await asyncio.open_connection(*place)
    await asyncio.gather(_pass_on(reader, back), _pass_on(there, writer))


if __name__ == "__main__":
    asyncio.run(_relay(sys.argv[1], sys.argv[2], sys.argv[3:]))
