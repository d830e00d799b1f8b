"""A start beside a bare FastAPI endpoint that pops a Redis set, with users who come whether or not others are served.

Each start has a time at which it is due, and its latency is counted from that time: one that was sent late, because the
machine or the answers before it were slow, has waited all the same (no coordinated omission). The agents are not there,
see ``benchmarks.fake_pool``. ``python -m benchmarks.open_loop``
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import uvloop

from benchmarks.fake_pool import serving_bare, serving_greenroom, start, until_up
from benchmarks.report import Report, percentile
from benchmarks.targets import HELD_RATE, RATES, START_P99_MS
from tests.support.servers import RedisServer, running

LONG_S = 20.0
"""Each rate, so long."""
WARM_UP_S = 2.0
"""Before what is measured: connections are opened, code is run for the first time."""
PAUSE_S = 1.0
SEED = 11
SHARES = (0.5, 0.9, 0.95, 0.99, 1.0)

Call = Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Latencies:
    """What the users of one rate waited, those included whose call failed."""

    ms: list[float]
    failed: int


def main() -> None:
    """Bare, then Greenroom, on one Redis, at each rate."""
    with tempfile.TemporaryDirectory() as folder, running(RedisServer.create(Path(folder))) as server:
        assert isinstance(server, RedisServer)
        agents = int(sum(RATES) * (LONG_S + WARM_UP_S) * 1.1)
        with serving_bare(server, agents) as url:
            bare = uvloop.run(_measure(url))
        with serving_greenroom(server, Path(folder), agents) as url:
            greenroom = uvloop.run(_measure(url))
    report = Report("open_loop", "python -m benchmarks.open_loop")
    for rate in RATES:
        _add(report, f"bare endpoint at {rate} a second", bare[rate])
        _add(report, f"start at {rate} a second", greenroom[rate], at_most=START_P99_MS if rate == HELD_RATE else None)
    report.raw = {"bare": _spread(bare), "greenroom": _spread(greenroom), "seed": SEED}
    report.publish()


def _add(report: Report, what: str, found: Latencies, *, at_most: float | None = None) -> None:
    report.add(f"{what}, p50", percentile(found.ms, 0.5), "ms")
    report.add(f"{what}, p99", percentile(found.ms, 0.99), "ms", at_most=at_most)
    report.add(f"{what}, longest", max(found.ms), "ms")
    report.add(f"{what}, not served at once", found.failed, "", at_most=0 if at_most else None)


async def _measure(url: str) -> dict[int, Latencies]:
    """By rate."""
    found = {}
    # As many connections as there are users: none of them waits for another one's.
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        await until_up(http, url)
        for rate in RATES:
            chance = random.Random(SEED)
            for long_s in (WARM_UP_S, LONG_S):
                found[rate] = await open_loop(arrivals_s(rate, long_s, chance), lambda i: start(http, url, i))
                await asyncio.sleep(PAUSE_S)
    return found


def arrivals_s(rate: float, long_s: float, chance: random.Random) -> list[float]:
    """When users come, in seconds from the beginning: a Poisson stream of ``rate`` a second for ``long_s`` seconds."""
    times_s, at_s = [], chance.expovariate(rate)
    while at_s < long_s:
        times_s.append(at_s)
        at_s += chance.expovariate(rate)
    return times_s


async def open_loop(due_s: Sequence[float], call: Call) -> Latencies:
    """Make each call when it is due, whatever became of those before. What it took is counted from when it was due."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    failed = 0

    async def one(at_s: float, number: int) -> float:
        nonlocal failed
        try:
            await call(number)
        except (RuntimeError, aiohttp.ClientError):
            failed += 1
        return (loop.time() - began - at_s) * 1000

    tasks = []
    for number, at_s in enumerate(due_s):
        await asyncio.sleep(max(0.0, began + at_s - loop.time()))
        tasks.append(asyncio.create_task(one(at_s, number)))
    return Latencies(await asyncio.gather(*tasks), failed)


def _spread(found: dict[int, Latencies]) -> dict[int, dict[str, float]]:
    return {
        rate: {"starts": len(latencies.ms), "failed": latencies.failed}
        | {f"p{share * 100:g}": round(percentile(latencies.ms, share), 3) for share in SHARES}
        for rate, latencies in found.items()
    }


if __name__ == "__main__":
    main()
