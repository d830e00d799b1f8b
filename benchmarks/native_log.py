"""What it costs to have the native library's log handed to Python: joins, and a participant that only waits.

``python -m benchmarks.native_log``. Agents do without (``agent.native_log``); livekit-rtc by itself does not.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from livekit import rtc

from agent import native_log
from benchmarks.report import Report, percentile
from tests.support.servers import LiveKitServer, running
from tests.support.speech import token

JOINS = 20
SETTLED_S, WAITS_S = 1.0, 10.0


@dataclass
class Seen:
    """Of one way: seconds of a processor and of time for each join, and of a processor for each second of waiting."""

    join_cpu_s: list[float] = field(default_factory=list)
    join_s: list[float] = field(default_factory=list)
    waiting: float = 0.0


def main() -> None:
    """Each way in a process of its own, one after the other: either is chosen once for a process."""
    with tempfile.TemporaryDirectory() as folder, running(LiveKitServer.create(Path(folder))) as server:
        by_itself, to_python = (_in_its_own_process(server.url, quiet) for quiet in (True, False))
    report = Report("native_log", "python -m benchmarks.native_log")
    for name, seen in (("written by itself", by_itself), ("handed to Python", to_python)):
        report.add(f"processor for a join, p50, {name}", 1000 * percentile(seen.join_cpu_s, 0.5), "ms")
        report.add(f"a join, p50, {name}", 1000 * percentile(seen.join_s, 0.5), "ms")
        report.add(f"processor of one that waits, {name}", 100 * seen.waiting, "% of a core")
        report.raw[name] = {"join_cpu_s": seen.join_cpu_s, "join_s": seen.join_s}
    ratio = percentile(to_python.join_cpu_s, 0.5) / percentile(by_itself.join_cpu_s, 0.5)
    report.add("processor for a join, handed to Python / written by itself", ratio, "x")
    report.publish()


def _in_its_own_process(url: str, quiet: bool) -> Seen:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        return process.submit(_see, url, quiet).result()


def _see(url: str, quiet: bool) -> Seen:
    if quiet:
        native_log.write_it_itself()
    return asyncio.run(_join_often(url))


async def _join_often(url: str) -> Seen:
    seen = Seen()
    await _join(url, Seen())  # what is done once for a process is no join's
    for _ in range(JOINS):
        room = await _join(url, seen)
        await asyncio.sleep(SETTLED_S)
        await room.disconnect()
    room = await _join(url, Seen())
    await asyncio.sleep(SETTLED_S)
    cpu = time.process_time()
    await asyncio.sleep(WAITS_S)
    seen.waiting = (time.process_time() - cpu) / WAITS_S
    await room.disconnect()
    return seen


async def _join(url: str, seen: Seen) -> rtc.Room:
    join_token = token("benchmark", "waits")
    room = rtc.Room()
    began, cpu = time.perf_counter(), time.process_time()
    await room.connect(url, join_token)
    seen.join_s.append(time.perf_counter() - began)
    seen.join_cpu_s.append(time.process_time() - cpu)
    return room


if __name__ == "__main__":
    main()
