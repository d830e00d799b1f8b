"""From the click until the user sees a listening agent, of users who click at once: Greenroom beside other ways.

``python -m benchmarks.alternatives``; ``… alternatives 10`` for bursts of ten alone. Each size is one run, in which all
ways follow one another on one LiveKit server, with the same agent and the same users.

*Warm*: each way has as many idle agents as users click. *Used up*: another burst has just taken those. A user's own
join is measured by itself, too: no way can be faster than that.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

import aiohttp
import psutil
from livekit import api, rtc

from agent import native_log
from benchmarks.greenroom_way import greenroom
from benchmarks.report import Report, percentile
from benchmarks.room_user import RoomUser
from benchmarks.targets import FASTER, GREENROOM, PROGRAMS, RAISED, WORKER
from benchmarks.ways import Rooms, Way, programs, room_name
from benchmarks.worker_way import worker
from contract.procfs import private_bytes
from tests.support.servers import LiveKitServer, running

PATIENCE_S = 60.0
"""A user who sees no agent within it is never served."""
SETTLE_S = 3.0
"""Over which the machine must have been quiet: the worker averages its load over 2.5 s."""
QUIET_PERCENT = 25.0
"""Of all processors, at most, before a burst."""
RESTLESS = 4
"""So often ``SETTLE_S`` is waited for that; then the burst begins all the same, and the report tells."""
TAKEN_S = 5.0
"""The users who use up what is idle have so long; whoever of them is not served by then may still be."""
GROWN_S = 3.0
"""Then an agent's memory is that of a session."""
LEAST_IDLE = 3
ROUNDS = {1: (8, 4), 10: (2, 1), 30: (1, 1)}
"""By burst: how often warm, how often used up."""
PROGRAM_ROUNDS = {1: 3, 10: 1, 30: 1}


@dataclass
class Found:
    """One way's figures. Seconds from the click; None for a user who was never served."""

    warm_s: list[float | None] = field(default_factory=list)
    used_up_s: list[float | None] = field(default_factory=list)
    idle_mb: list[float] = field(default_factory=list)
    session_mb: list[float] = field(default_factory=list)
    busy_percent: list[float] = field(default_factory=list)
    """Of all processors, just before each burst."""
    why: list[str] = field(default_factory=list)
    """What else than patience ended a user's waiting."""


def main() -> None:
    """One run and one report for each size of burst."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bursts", nargs="*", type=int, default=list(ROUNDS), help=f"of {list(ROUNDS)}")
    bursts = parser.parse_args().bursts
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # whoever ends it leaves no process
    native_log.write_it_itself("off")  # thirty users' native log would take a processor from every way
    for size in bursts:
        _publish(size, *asyncio.run(_compare(size)))


async def _compare(size: int) -> tuple[list[float], dict[str, Found]]:
    """Seconds of joins alone, and each way's figures."""
    idle, found = max(LEAST_IDLE, size), {}
    with tempfile.TemporaryDirectory() as name, running(LiveKitServer.create(Path(name) / "livekit")) as server:
        assert isinstance(server, LiveKitServer)
        folder, most = Path(name), 3 * idle + size
        ways: dict[str, AbstractAsyncContextManager[Way]] = {
            GREENROOM: greenroom(server, folder / "greenroom", idle, most),
            WORKER: worker(server, folder / "worker", idle),
            RAISED: worker(server, folder / "raised", idle, load_threshold=0.99),
            PROGRAMS: programs(server),
        }
        await _joins(server, 1)  # the first one loads the client
        joins_s = await _joins(server, size)
        for title, opening in ways.items():
            async with opening as way:
                found[title] = await _measure(way, size, idle)
            print(f"{title}, bursts of {size}: {found[title]}", flush=True)
    return joins_s, found


async def _joins(server: LiveKitServer, size: int) -> list[float]:
    """What the users' own joins take, of so many at once into rooms without agents: no way can be faster."""
    async with Rooms.of(server) as rooms:
        users = [RoomUser() for _ in range(size)]
        names = [room_name() for _ in users]

        async def join(user: RoomUser, name: str) -> float:
            await user.join(rooms.url, rooms.for_user(name))
            return monotonic() - user.clicked_at

        joins_s = await asyncio.gather(*map(join, users, names))
        await asyncio.gather(*(user.leave() for user in users), *map(rooms.delete, names))
    return joins_s


async def _measure(way: Way, size: int, idle: int) -> Found:
    warm, used_up = ROUNDS[size] if way.waits else (PROGRAM_ROUNDS[size], 0)
    found = Found()
    for number in range(warm):
        found.busy_percent.append(await _settle(way, idle))
        if number == 0:
            found.idle_mb = [private_bytes(pid) / 2**20 for pid in way.idle_pids()]
        found.warm_s += await _burst(way, size, found, weigh=number == 0)
    for _ in range(used_up):
        found.busy_percent.append(await _settle(way, idle))
        found.used_up_s += await _burst(way, size, found, after=idle)
    return found


async def _settle(way: Way, idle: int) -> float:
    """Wait until all are idle and the machine is quiet; how busy it was last, in percent of all processors."""
    await way.ready(idle)
    psutil.cpu_percent()
    for _ in range(RESTLESS):
        await asyncio.sleep(SETTLE_S)
        if (busy_percent := psutil.cpu_percent()) <= QUIET_PERCENT:
            break
    return busy_percent


async def _burst(way: Way, size: int, found: Found, *, after: int = 0, weigh: bool = False) -> list[float | None]:
    """So many users who click at once, ``after`` so many others."""
    takers = Crowd(way, after)
    if takers.waiting:
        await asyncio.wait(takers.waiting, timeout=TAKEN_S)
    crowd = Crowd(way, size)
    try:
        waited_s = await crowd.served(found.why)
        if weigh:
            await asyncio.sleep(GROWN_S)
            served = [u.room_name for u, s in zip(crowd.users, waited_s, strict=True) if u.room_name and s is not None]
            found.session_mb = [private_bytes(way.pid(room)) / 2**20 for room in served]
        return waited_s
    finally:
        rooms = [*await takers.leave(), *await crowd.leave()]
        await way.end(rooms)


class Crowd:
    """Users who have just clicked, all at once."""

    def __init__(self, way: Way, size: int) -> None:
        self.users = [RoomUser() for _ in range(size)]
        self.waiting = [asyncio.create_task(self._wait(way, user)) for user in self.users]

    async def served(self, why: list[str]) -> list[float | None]:
        """Seconds from each one's click; None for who was never served, and in ``why`` what came in between."""
        waited_s: list[float | None] = []
        for outcome in await asyncio.gather(*self.waiting):
            waited_s.append(outcome if isinstance(outcome, float) else None)
            if isinstance(outcome, str):
                why.append(outcome)
        return waited_s

    async def leave(self) -> list[str]:
        """Nobody waits any more; the names of their rooms."""
        for task in self.waiting:
            task.cancel()
        await asyncio.gather(*self.waiting, return_exceptions=True)
        await asyncio.gather(*(user.leave() for user in self.users))
        return [user.room_name for user in self.users if user.room_name]

    async def _wait(self, way: Way, user: RoomUser) -> float | str | None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                await way.call(user)
                return await user.served()
        except TimeoutError:
            return None
        except (RuntimeError, rtc.ConnectError, aiohttp.ClientError, api.TwirpError) as error:
            return repr(error)


def _publish(size: int, joins_s: list[float], found: dict[str, Found]) -> None:
    report = Report(f"alternatives_{size}", f"python -m benchmarks.alternatives {size}")
    report.add("a user's own join, p50", percentile(joins_s, 0.5) * 1000, "ms")
    busy_percent = [percent for one in found.values() for percent in one.busy_percent]
    report.add("processors busy before a burst, median", statistics.median(busy_percent), "%")
    for title, one in found.items():
        _add(report, f"{title}, warm", one.warm_s, none_unserved=title == GREENROOM)
        if one.used_up_s:
            _add(report, f"{title}, used up", one.used_up_s, none_unserved=title == GREENROOM)
        for what, values_mb in (("idle", one.idle_mb), ("in a session", one.session_mb)):
            if values_mb:
                report.add(f"{title}: private memory of one {what}, median", statistics.median(values_mb), "MB")
    for title in (WORKER, RAISED):
        ratio = _p50(found[title].warm_s) / _p50(found[GREENROOM].warm_s)
        report.add(f"{title} to Greenroom, warm, p50", ratio, "x", at_least=FASTER)
    report.raw = {
        "size": size, "idle": max(LEAST_IDLE, size), "joins_s": [round(s, 4) for s in joins_s],
        "ways": {title: _raw(one) for title, one in found.items()},
    }  # fmt: skip
    report.publish()


def _add(report: Report, what: str, waited_s: Sequence[float | None], *, none_unserved: bool) -> None:
    served_ms = [s * 1000 for s in waited_s if s is not None]
    if served_ms:
        report.add(f"{what}: click to agent seen, p50 of {len(served_ms)}", percentile(served_ms, 0.5), "ms")
        report.add(f"{what}: click to agent seen, p99", percentile(served_ms, 0.99), "ms")
    unserved = len(waited_s) - len(served_ms)
    report.add(f"{what}: never served, of {len(waited_s)}", unserved, "", at_most=0 if none_unserved else None)


def _p50(waited_s: Sequence[float | None]) -> float:
    return percentile([s for s in waited_s if s is not None], 0.5)


def _raw(found: Found) -> dict[str, Any]:
    def rounded(values: Sequence[float | None]) -> list[float | None]:
        return [value if value is None else round(value, 4) for value in values]

    return {
        "warm_s": rounded(found.warm_s), "used_up_s": rounded(found.used_up_s),
        "idle_mb": rounded(found.idle_mb), "session_mb": rounded(found.session_mb),
        "busy_percent": found.busy_percent, "why": found.why,
    }  # fmt: skip


if __name__ == "__main__":
    main()
