"""What an agent adds to a trace: its joining and its turns, told when they are over; never the words that were said."""

from __future__ import annotations

import asyncio
import os
import socket
import time

from livekit.agents import llm

from contract import tracing
from contract.messages import Fork


async def joined(fork: Fork, now: float) -> None:
    """Begin to send, when the agent is in its room: what that loads must not hold it up before."""
    if endpoint := os.environ.get(tracing.ENDPOINT):
        host = os.environ.get("HOST_ID") or socket.gethostname()
        await asyncio.to_thread(tracing.begin, endpoint, "agent", host=host)
        tracing.record("agent.join", fork.trace, fork.requested_at, now, session_id=fork.session_id)


def turn(item: llm.ChatMessage, trace: str | None) -> None:
    """An answer was spoken: from the end of the user's speech to the end of the answer."""
    metrics = item.metrics
    spoken_at = metrics.get("started_speaking_at")
    if item.role != "assistant" or spoken_at is None:
        return
    tracing.record(
        "agent.turn",
        trace,
        spoken_at - metrics.get("e2e_latency", 0.0),
        metrics.get("stopped_speaking_at", time.time()),
        **{
            "voice.latency_s": metrics.get("e2e_latency"),
            "voice.llm_s": metrics.get("llm_node_ttft"),
            "voice.tts_s": metrics.get("tts_node_ttfb"),
            "voice.interrupted": item.interrupted,
        },
    )


async def end() -> None:
    """Send what is left."""
    if tracing.is_on():
        await asyncio.to_thread(tracing.end)
