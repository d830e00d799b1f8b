"""The way to Redis: a proxy in a process of its own, which can be told to drop answers."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized

from tests.support.flaky_proxy import flaky_proxy

LOOK_S = 0.05


class RedisProxy:
    """Listens on a free port; ``rate`` is the share of answers that are dropped, with their connection."""

    def __init__(self, target_port: int, seed: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._rate = context.Value("d", 0.0)
        self._dropped = context.Value("i", 0)
        ours, theirs = context.Pipe()
        arguments = (target_port, seed, self._rate, self._dropped, theirs)
        self._process = context.Process(target=_run, args=arguments, daemon=True)
        self._process.start()
        self.port: int = ours.recv()

    @property
    def url(self) -> str:
        """What the system is told as ``REDIS_URL``."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def dropped(self) -> int:
        """Answers that were dropped so far."""
        return self._dropped.value

    def drop(self, rate: float) -> None:
        """From now on drop this share of the answers."""
        self._rate.value = rate

    def stop(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join(10)


def _run(target_port: int, seed: int, rate: Synchronized[float], dropped: Synchronized[int], port: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the system behind us still wants to write its end
    asyncio.run(_serve(target_port, seed, rate, dropped, port))


async def _serve(
    target_port: int, seed: int, rate: Synchronized[float], dropped: Synchronized[int], port: Connection
) -> None:
    parent = os.getppid()
    async with flaky_proxy(target_port, seed=seed) as proxy:
        port.send(proxy.port)
        while os.getppid() == parent:
            proxy.rate, dropped.value = rate.value, proxy.dropped
            await asyncio.sleep(LOOK_S)
