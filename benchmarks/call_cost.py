"""What one call costs in memory and processor: its agent's, and LiveKit's where that is one's own. Offline voice.

``python -m benchmarks.call_cost``

The conversation has no pauses for thought, so a real one costs less. No figure is held against a limit: ``deploy.cost``
computes with them what machines cost.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from benchmarks.report import Report, percentile
from contract.procfs import private_bytes
from orchestrator.adapters.livekit_client import Caller
from orchestrator.adapters.speech import spoken
from tests.support.system import System, running_system

SENTENCES = ("what time is it", "tell me a joke", "count to three", "who are you", "thank you")
CALLS = 5
ANSWER_TIMEOUT_S = 10.0


@dataclass
class Seen:
    """One figure for each call."""

    private_mb: list[float] = field(default_factory=list)
    agent_percent: list[float] = field(default_factory=list)
    livekit_percent: list[float] = field(default_factory=list)


class Usage:
    """The processor that a process uses from now on."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._seconds, self._at = self._spent(), time.perf_counter()

    def percent(self) -> float:
        """Of one core, so far."""
        return (self._spent() - self._seconds) / (time.perf_counter() - self._at) * 100

    def _spent(self) -> float:
        return sum(self._process.cpu_times()[:2])


def main() -> None:
    """Five calls of five sentences each, one after the other."""
    seen = Seen()
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder)) as system:
        for _ in range(CALLS):
            system.wait_pool(3)
            asyncio.run(_call(system, seen))
    report = Report("call_cost", "python -m benchmarks.call_cost")
    report.add("private memory of an agent that has talked, p50", percentile(seen.private_mb, 0.5), "MB")
    report.add("processor of an agent in a call, mean", _mean(seen.agent_percent), "% of a core")
    report.add("processor of LiveKit for one call, mean", _mean(seen.livekit_percent), "% of a core")
    report.raw = {
        "private_mb": [round(v, 1) for v in seen.private_mb],
        "cpu_percent_of_core": [round(v, 2) for v in seen.agent_percent],
        "livekit_cpu_percent_of_core": [round(v, 2) for v in seen.livekit_percent],
    }
    report.publish()


async def _call(system: System, seen: Seen) -> None:
    started: dict[str, Any] = system.start_session("bench", userName="Bench")
    join = started["join"]
    agent_pid = system.session(started["sessionId"])["agentPid"]
    async with Caller() as caller:
        await caller.join(join["url"], join["token"])
        await caller.agent_seen(ANSWER_TIMEOUT_S)
        await caller.answer_to(0.0, ANSWER_TIMEOUT_S)
        await caller.quiet(20)
        agent, livekit = Usage(agent_pid), Usage(system.pid_of("livekit"))
        for sentence in SENTENCES:
            voice = spoken(sentence)
            ended_at = await caller.say_pcm(voice.data, voice.sample_rate)
            await caller.answer_to(ended_at, ANSWER_TIMEOUT_S)
            await caller.quiet(20)
        seen.agent_percent.append(agent.percent())
        seen.livekit_percent.append(livekit.percent())
        seen.private_mb.append(private_bytes(agent_pid) / 2**20)
    system.end(started["sessionId"])


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


if __name__ == "__main__":
    main()
