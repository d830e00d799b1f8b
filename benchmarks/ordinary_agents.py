"""The ordinary way, to compare with: one program for each agent, which imports, joins its room and starts a session."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer, running

TOP = Path(__file__).parents[1]


def ten_ordinary_agents(folder: Path) -> float:
    """Seconds until ten such programs, started at once, have all started their session."""
    from orchestrator.adapters.livekit_rooms import LiveKitKey, LiveKitTokens

    server = LiveKitServer.create(folder)
    tokens = LiveKitTokens(LiveKitKey(server.url, LIVEKIT_KEY, LIVEKIT_SECRET))
    with running(server):
        began = time.perf_counter()
        programs = []
        for i in range(10):
            room = f"session_{i:032x}"
            token = tokens.agent(room, issued_at=time.time() - 10, ttl_s=600)
            programs.append(ordinary_agent(server.url, token, room))
        try:
            for program in programs:
                assert program.stdout is not None
                while b"started" not in (line := program.stdout.readline()):
                    if not line:
                        raise RuntimeError("an ordinary agent ended before it had started")
            return time.perf_counter() - began
        finally:
            for program in programs:
                end_program(program)


def ordinary_agent(url: str, token: str, room: str) -> subprocess.Popen[bytes]:
    """Start one."""
    argv = [sys.executable, "-m", "benchmarks.ordinary_agent", url, token, room]
    return subprocess.Popen(argv, cwd=TOP, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)


def end_program(program: subprocess.Popen[bytes]) -> None:
    """Kill it, and reap it."""
    program.kill()
    program.wait()
    if program.stdout is not None:
        program.stdout.close()
