"""Agents in their rooms a minute, and what a waiting agent and one in a session cost in private memory.

``python -m benchmarks.spawn_rate``
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from benchmarks.report import Report, percentile
from contract.procfs import private_bytes
from tests.support.system import System, running_system

AGENTS = 60
SESSIONS = 10


def main() -> None:
    """Fill an empty pool with sixty agents, then start sessions on ten of them."""
    settings = {"PREWARM_POOL_SIZE": "0", "MAX_BOTS": str(AGENTS + 20)}
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder), **settings) as system:
        rate = _fill(system)
        time.sleep(3.0)
        warm_mb, cpu_percent = _waiting(system)
        in_session_mb = _in_session(system)
    report = Report("spawn_rate", "python -m benchmarks.spawn_rate")
    report.add(f"agents in their rooms a minute ({AGENTS} from none)", rate, "/min", at_least=400)
    report.add("private memory of a waiting agent, p50", percentile(warm_mb, 0.5), "MB", at_most=14)
    report.add("private memory of a waiting agent, worst", max(warm_mb), "MB")
    report.add("private memory of one with its session started, p50", percentile(in_session_mb, 0.5), "MB", at_most=30)
    report.add("private memory of one with its session started, worst", max(in_session_mb), "MB")
    report.add("processor of a waiting agent, mean", cpu_percent, "% of a core")
    report.raw = {"warm_mb": warm_mb, "in_session_mb": in_session_mb}
    report.publish()


def _fill(system: System) -> float:
    with system.client(headers=system.admin) as client:
        began = time.perf_counter()
        client.post("/api/pool/resize", json={"size": AGENTS}).raise_for_status()
        while client.get("/api/pool").json()["ready"] < AGENTS:
            if time.perf_counter() - began > 120:
                raise TimeoutError("the pool did not fill")
            time.sleep(0.05)
        return AGENTS / (time.perf_counter() - began) * 60


def _waiting(system: System) -> tuple[list[float], float]:
    import psutil

    pids = sorted(system.agent_pids())
    processes = [psutil.Process(pid) for pid in pids]
    before = sum(sum(p.cpu_times()[:2]) for p in processes)
    time.sleep(10.0)
    used = sum(sum(p.cpu_times()[:2]) for p in processes) - before
    return [private_bytes(pid) / 2**20 for pid in pids], used / 10.0 / len(pids) * 100


def _in_session(system: System) -> list[float]:
    sessions = [system.start_session(f"u{i}", userName="Bench")["sessionId"] for i in range(SESSIONS)]
    time.sleep(5.0)
    return [private_bytes(system.session(i)["agentPid"]) / 2**20 for i in sessions]


if __name__ == "__main__":
    main()
