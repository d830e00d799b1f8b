"""How long ``POST /api/session/start`` takes with a warm agent, its own acknowledgement included, pool refilling.

``python -m benchmarks.start_latency``
"""

from __future__ import annotations

import json
import random
import re
import socket
import tempfile
import time
from collections import deque
from contextlib import closing
from pathlib import Path
from typing import Any

from benchmarks.report import Report, percentile
from tests.support.system import System, running_system

STARTS = 250
RUSHED_STARTS = 80
POOL = 3
PAUSE_S = (0.1, 0.9)
"""Two starts a second: every one sets off a refill, and meets the end of the one before or none."""
RUSHED_PAUSE_S = (0.02, 0.2)
"""As fast as two cores can start agents: there is always a refill under way."""
CALLS_AT_ONCE = 10


def main() -> None:
    """One caller; ten calls are open at any time, and each start sets off a refill."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {"PREWARM_POOL_SIZE": str(POOL), "MAX_BOTS": "50"}
        with running_system(Path(folder), **settings) as system:
            system.wait_pool(POOL)
            warm_ms, cold = _measure(system, STARTS, PAUSE_S)
            system.wait_pool(POOL)
            rushed_ms, rushed_cold = _measure(system, RUSHED_STARTS, RUSHED_PAUSE_S)
    report = Report("start_latency", "python -m benchmarks.start_latency")
    report.add("warm start, p50", percentile(warm_ms, 0.50), "ms", at_most=5)
    report.add("warm start, p99", percentile(warm_ms, 0.99), "ms", at_most=25)
    report.add("starts that found the pool empty", cold, "")
    report.add("the same at eight starts a second, p50", percentile(rushed_ms, 0.50), "ms")
    report.add("the same at eight starts a second, p99", percentile(rushed_ms, 0.99), "ms")
    report.add("starts that found the pool empty", rushed_cold, "")
    report.raw = {"ms": [round(v, 3) for v in warm_ms], "rushed_ms": [round(v, 3) for v in rushed_ms]}
    report.publish()


def _measure(system: System, starts: int, pause_s: tuple[float, float]) -> tuple[list[float], int]:
    warm_ms: list[float] = []
    open_sessions: deque[str] = deque()
    cold, rhythm = 0, random.Random(7)
    with closing(socket.create_connection(("127.0.0.1", system.port))) as connection:
        while len(warm_ms) < starts:
            took_ms, answer = _start(connection)
            if answer["prewarmed"]:
                warm_ms.append(took_ms)
            else:
                cold += 1
            open_sessions.append(answer["sessionId"])
            if len(open_sessions) > CALLS_AT_ONCE:
                system.end(open_sessions.popleft())
            # At any moment of the refill that the start before set off, or just after it.
            time.sleep(rhythm.uniform(*pause_s))
    return warm_ms, cold


def _start(connection: socket.socket) -> tuple[float, dict[str, Any]]:
    """One start, until the last byte of its answer, over a connection that stays open.

    On a plain socket: httpx would add 3 ms of its own, and the standard library's client up to 1 ms.
    """
    body = b'{"userId": "bench", "userName": "Bench"}'
    head = b"POST /api/session/start HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
    request = head + b"Content-Length: %d\r\n\r\n" % len(body) + body
    began = time.perf_counter()
    connection.sendall(request)
    answer = connection.recv(65_536)
    while not _complete(answer):
        answer += connection.recv(65_536)
    return (time.perf_counter() - began) * 1000, json.loads(answer.partition(b"\r\n\r\n")[2])


def _complete(answer: bytes) -> bool:
    head, found, body = answer.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)content-length: (\d+)", head)
    return bool(found) and length is not None and len(body) >= int(length[1])


if __name__ == "__main__":
    main()
