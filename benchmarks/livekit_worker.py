"""The same agent for livekit-agents' own worker: ``python -m livekit.agents start benchmarks/livekit_worker.py``.

It has what makes it fast: what Greenroom's zygote loads before it forks is loaded in the worker's fork server.
"""

from __future__ import annotations

import os
from pathlib import Path

from livekit.agents import AgentServer, JobContext

from benchmarks.quiet_agent import conversation

server = AgentServer(
    num_idle_processes=int(os.environ["WORKER_IDLE_PROCESSES"]),
    host="127.0.0.1",
    port=int(os.environ["WORKER_PORT"]),
    preload_modules=["benchmarks.livekit_worker", "benchmarks.warmed"],
)
if threshold := os.environ["WORKER_LOAD_THRESHOLD"]:
    server.update_options(load_threshold=float(threshold))


@server.rtc_session(agent_name=os.environ["WORKER_AGENT_NAME"])
async def entrypoint(job: JobContext) -> None:
    """One job: join, start the session. Its process is told of in a file, for its memory to be measured."""
    (Path(os.environ["WORKER_FOLDER"]) / job.room.name).write_text(str(os.getpid()))
    await job.connect()
    await conversation(job.room, job.room.name).start()
