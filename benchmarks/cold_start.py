"""With an empty pool: how long from the request until the session is ready, and ten at once with three warm.

``python -m benchmarks.cold_start``
"""

from __future__ import annotations

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx

from benchmarks.ordinary_agents import ten_ordinary_agents
from benchmarks.report import Report, percentile
from tests.support.system import System, running_system

COLD_STARTS = 40
BURSTS = 5


def main() -> None:
    """Both figures on one system, then the ordinary way on the same machine."""
    with tempfile.TemporaryDirectory() as folder:
        with running_system(Path(folder), PREWARM_POOL_SIZE="0", POOL_CAP="0") as system:
            cold_ms = [_one_cold(system) for _ in range(COLD_STARTS)]
        with running_system(Path(folder) / "burst", PREWARM_POOL_SIZE="3") as system:
            bursts_s = [_ten_at_once(system) for _ in range(BURSTS)]
        ordinary_s = ten_ordinary_agents(Path(folder) / "ordinary")
    report = Report("cold_start", "python -m benchmarks.cold_start")
    report.add("pool empty: request until ready, p50", percentile(cold_ms, 0.5), "ms", at_most=300)
    report.add("pool empty: request until ready, worst", max(cold_ms), "ms", at_most=500)
    report.add("ten at once, three warm: all ready, worst of five", max(bursts_s), "s", at_most=1.5)
    report.add("ten programs that import, join and start", ordinary_s, "s")
    report.add("ratio", ordinary_s / max(bursts_s), "x", at_least=10)
    report.raw = {"cold_ms": cold_ms, "bursts_s": bursts_s, "ordinary_s": ordinary_s}
    report.publish()


def _one_cold(system: System) -> float:
    with system.client() as client:
        began = time.perf_counter()
        session_id = _start_until_ready(client, "bench", poll_s=0.01)
        took_ms = (time.perf_counter() - began) * 1000
        client.delete(f"/api/session/{session_id}")
    time.sleep(0.3)  # the ended agent's own work is not this start's
    return took_ms


def _ten_at_once(system: System) -> float:
    system.wait_pool(3)
    time.sleep(1.0)
    # Made before: a client of httpx reads all certificates when it is made, and that is not what is measured.
    with ExitStack() as stack, ThreadPoolExecutor(10) as pool:
        clients = [stack.enter_context(system.client()) for _ in range(10)]
        began = time.perf_counter()
        sessions = list(pool.map(lambda client: _start_until_ready(client, "bench", poll_s=0.05), clients))
        took_s = time.perf_counter() - began
    for session_id in sessions:
        system.end(session_id)
    return took_s


def _start_until_ready(client: httpx.Client, user: str, poll_s: float) -> str:
    session_id: str = client.post("/api/session/start", json={"userId": user}).json()["sessionId"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        status = client.get(f"/api/session/{session_id}").json()["status"]
        if status == "ready":
            return session_id
        if status == "failed":
            raise RuntimeError(f"{session_id} failed")
        time.sleep(poll_s)
    raise TimeoutError(session_id)


if __name__ == "__main__":
    main()
