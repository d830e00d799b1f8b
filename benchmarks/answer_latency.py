"""From the end of the user's sentence to the answer's first sound, spoken over the whole system, offline voice.

``python -m benchmarks.answer_latency``
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.report import Report, percentile
from contract.procfs import private_bytes
from orchestrator.adapters.livekit_client import Caller
from orchestrator.adapters.speech import spoken
from tests.support.system import System, running_system

SENTENCES = ("what time is it", "tell me a joke", "count to three", "who are you", "thank you")
CALLS = 8
ANSWER_TIMEOUT_S = 10.0


def main() -> None:
    """Eight calls of five sentences each, one after the other."""
    latencies_ms: list[float] = []
    private_mb: list[float] = []
    with tempfile.TemporaryDirectory() as folder, running_system(Path(folder)) as system:
        for _ in range(CALLS):
            system.wait_pool(3)
            asyncio.run(_call(system, latencies_ms, private_mb))
    report = Report("answer_latency", "python -m benchmarks.answer_latency")
    report.add("sentence's end to first sound, p50", percentile(latencies_ms, 0.5), "ms", at_most=800)
    report.add("sentence's end to first sound, p95", percentile(latencies_ms, 0.95), "ms", at_most=1200)
    report.add("sentence's end to first sound, worst", max(latencies_ms), "ms")
    report.add("private memory of an agent that has talked, p50", percentile(private_mb, 0.5), "MB")
    report.raw = {"ms": [round(v, 1) for v in latencies_ms], "private_mb": private_mb}
    report.publish()


async def _call(system: System, latencies_ms: list[float], private_mb: list[float]) -> None:
    started: dict[str, Any] = system.start_session("bench", userName="Bench")
    join = started["join"]
    async with Caller() as caller:
        await caller.join(join["url"], join["token"])
        await caller.agent_seen(10)
        await caller.answer_to(0.0, ANSWER_TIMEOUT_S)
        await caller.quiet(20)
        for sentence in SENTENCES:
            voice = spoken(sentence)
            ended_at = await caller.say_pcm(voice.data, voice.sample_rate)
            latencies_ms.append((await caller.answer_to(ended_at, ANSWER_TIMEOUT_S) - ended_at) * 1000)
            await caller.quiet(20)
        private_mb.append(private_bytes(system.session(started["sessionId"])["agentPid"]) / 2**20)
    system.end(started["sessionId"])


if __name__ == "__main__":
    main()
