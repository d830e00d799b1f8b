"""Starts a second at 16 callers, beside a bare FastAPI endpoint that pops a Redis set, in the same run.

Thousands of fake agents wait in the pool, and a fake host acknowledges each claim by its command stream, so that the
whole request path is real and only the agents are not. ``python -m benchmarks.start_throughput``
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.fake_pool import serving_bare, serving_greenroom, start, until_up
from benchmarks.report import Report, percentile
from tests.support.servers import RedisServer, running

CALLERS = 16
STARTS = 8_000


def main() -> None:
    """Bare, Greenroom, bare again (the machine's own drift shows), on one Redis."""
    with tempfile.TemporaryDirectory() as folder, running(RedisServer.create(Path(folder))) as server:
        assert isinstance(server, RedisServer)
        bare = [_measure_bare(server)]
        with serving_greenroom(server, Path(folder), STARTS + CALLERS) as url:
            greenroom, times_ms = uvloop.run(_call(url))
        bare.append(_measure_bare(server))
    report = Report("start_throughput", "python -m benchmarks.start_throughput")
    mean_bare = sum(bare) / len(bare)
    report.add("bare FastAPI endpoint that pops a set", mean_bare, "/s")
    report.add("POST /api/session/start with acknowledgement", greenroom, "/s")
    report.add("ratio", greenroom / mean_bare, "x", at_least=0.25)
    report.add("start at 16 callers, p50", percentile(times_ms, 0.5), "ms")
    report.add("start at 16 callers, p99", percentile(times_ms, 0.99), "ms")
    report.raw = {"bare_per_s": bare, "greenroom_per_s": greenroom, "starts": STARTS, "callers": CALLERS}
    report.publish()


def _measure_bare(server: RedisServer) -> float:
    with serving_bare(server, STARTS + CALLERS) as url:
        rate, _ = uvloop.run(_call(url))
    return rate


async def _call(url: str) -> tuple[float, list[float]]:
    """Starts a second, and each one's time in ms, of ``CALLERS`` callers that go on as soon as they are answered."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CALLERS)) as http:
        await until_up(http, url)
        left = iter(range(STARTS - 1))
        times_ms: list[float] = []
        began = time.perf_counter()
        await asyncio.gather(*(_caller(http, url, left, times_ms) for _ in range(CALLERS)))
        return len(times_ms) / (time.perf_counter() - began), times_ms


async def _caller(http: aiohttp.ClientSession, url: str, left: Iterator[int], times_ms: list[float]) -> None:
    for i in left:
        began = time.perf_counter()
        await start(http, url, i)
        times_ms.append((time.perf_counter() - began) * 1000)


if __name__ == "__main__":
    main()
