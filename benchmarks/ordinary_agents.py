"""The ordinary way, to compare with: one program for each agent, which imports, joins its room and starts a session."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer, running

PROGRAM = """
import asyncio, sys
from livekit import rtc
from livekit.agents import Agent, AgentSession
from livekit.plugins import assemblyai, groq, inworld
from agent import voices
from agent.conversation import Conversation
from agent.assistant import assistant
from contract.messages import Assignment

async def main(url, token, session_id):
    voices.preload()
    room = rtc.Room()
    await room.connect(url, token)
    assignment = Assignment(session_id=session_id, fence=1, user_id="u")
    conversation = Conversation(room, assignment, assistant, on_turn=print, on_end=print)
    await conversation.start()
    print("started", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


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
            argv = [sys.executable, "-c", PROGRAM, server.url, token, room]
            programs.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
        try:
            for program in programs:
                assert program.stdout is not None
                while b"started" not in (line := program.stdout.readline()):
                    if not line:
                        raise RuntimeError("an ordinary agent ended before it had started")
            return time.perf_counter() - began
        finally:
            for program in programs:
                program.kill()
                program.wait()
                if program.stdout is not None:
                    program.stdout.close()
