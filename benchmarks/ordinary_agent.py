"""The ordinary way: a program that imports, joins its room and starts a session.

``python -m benchmarks.ordinary_agent URL TOKEN ROOM`` says "started" when it has, and stays for two minutes.
"""

from __future__ import annotations

import asyncio
import sys

from livekit import rtc

from agent import voices
from benchmarks.quiet_agent import conversation

STAY_S = 120


async def main(url: str, token: str, name: str) -> None:
    """One session."""
    voices.preload()
    room = rtc.Room()
    await room.connect(url, token)
    await conversation(room, name).start()
    print("started", flush=True)
    await asyncio.sleep(STAY_S)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
