"""What the limits of starts cost: within the claim, as a script of their own, and by the `limits` library.

One caller, one Redis, an empty pool. ``python -m benchmarks.start_limits``
"""

from __future__ import annotations

import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import uvloop
from limits import RateLimitItemPerMinute
from limits.aio.storage import RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter, RateLimiter, SlidingWindowCounterRateLimiter

from benchmarks.report import Report, percentile
from orchestrator.adapters.redis_client import connect
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.limits import Counted, Rate
from orchestrator.records import StartRequest
from tests.support.servers import RedisServer, running

ROUNDS = 20
CALLS = 200
"""In turns, so that the machine's drift meets all alike."""
USER, TENANT = 20, 100
MOST = ROUNDS * CALLS + 1
"""A window that is never full: a refusal would be cheaper."""

Call = Callable[[int], Awaitable[object]]


def main() -> None:
    """Each way in turns."""
    with tempfile.TemporaryDirectory() as folder, running(RedisServer.create(Path(folder))) as server:
        assert isinstance(server, RedisServer)
        times_us = uvloop.run(_measure(server.url))
    report = Report("start_limits", "python -m benchmarks.start_limits")
    plain = percentile(times_us["claim without limits"], 0.5)
    for name, values in times_us.items():
        report.add(f"{name}, p50", percentile(values, 0.5), "us")
        report.add(f"{name}, p99", percentile(values, 0.99), "us")
    added = percentile(times_us["claim that counts user and tenant"], 0.5) - plain
    report.add("what the limits add to a claim, p50", added, "us", at_most=300)
    report.raw = {"calls": ROUNDS * CALLS}
    report.publish()


async def _measure(url: str) -> dict[str, list[float]]:
    client = connect(url)
    store = RedisStore(client)
    storage = RedisStorage(f"async+{url}", implementation="redispy")
    ways: dict[str, Call] = {
        "claim without limits": lambda _: store.claim(_request(), "r"),
        "claim that counts user and tenant": lambda i: store.claim(_counted(i), "r"),
        "limits, moving window: two hits": _hits(MovingWindowRateLimiter(storage)),
        "limits, sliding counter: two hits": _hits(SlidingWindowCounterRateLimiter(storage)),
        "the same, and what is left for the answer": _hits(SlidingWindowCounterRateLimiter(storage), look=True),
    }
    times_us: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, call in ways.items():
            times_us[name] += [await _timed(call, i) for i in range(CALLS)]
    await client.aclose()
    return times_us


async def _timed(call: Call, i: int) -> float:
    began = time.perf_counter()
    await call(i)
    return (time.perf_counter() - began) * 1e6


def _hits(limiter: RateLimiter, *, look: bool = False) -> Call:
    user, tenant = RateLimitItemPerMinute(USER), RateLimitItemPerMinute(MOST)

    async def hit(i: int) -> None:
        await limiter.hit(user, "user", str(i % CALLS))
        await limiter.hit(tenant, "tenant", "one")
        if look:
            await limiter.get_window_stats(user, "user", str(i % CALLS))
            await limiter.get_window_stats(tenant, "tenant", "one")

    return hit


def _request() -> StartRequest:
    return StartRequest({"user_id": "u"}, "u", None, secrets.token_hex(16), "body", 60)


def _counted(i: int) -> StartRequest:
    rates = [Counted("user", str(i), Rate(USER, 60)), Counted("tenant", "one", Rate(MOST, 60))]
    return replace(_request(), counted=rates)


if __name__ == "__main__":
    main()
