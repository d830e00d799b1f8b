"""An agent's native library keeps its log from Python, and writes what is asked for itself."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.support.servers import LiveKitServer
from tests.support.speech import token

JOIN = """
import asyncio, sys
from agent import native_log
from livekit import rtc
from livekit.rtc import _ffi_client

records = 0

def counted(level):
    global records
    records += 1

_ffi_client.to_python_level = counted

async def join(url, token):
    room = rtc.Room()
    await room.connect(url, token)
    await room.disconnect()

if sys.argv[1] == "by itself":
    native_log.write_it_itself()
asyncio.run(join(*sys.argv[2:]))
print(records)
"""


def _joined(server: LiveKitServer, way: str, level: str | None = None) -> tuple[int, str]:
    """How many records were handed to Python, and what was written to standard error."""
    environment = {name: value for name, value in os.environ.items() if name != "RUST_LOG"}
    if level is not None:
        environment["RUST_LOG"] = level
    done = subprocess.run(
        [sys.executable, "-c", JOIN, way, server.url, token("native-log", "joins")],
        env=environment, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return int(done.stdout), done.stderr


def test_python_is_handed_next_to_no_record(livekit_server: LiveKitServer) -> None:
    handed, written = _joined(livekit_server, "by itself")
    assert handed < 10, "but for what is said before it is told so"
    assert written == "", "a join is no reason for a warning"


def test_without_it_there_would_be_hundreds(livekit_server: LiveKitServer) -> None:
    """Once livekit-rtc is as quiet by itself, ``agent.native_log`` can go."""
    handed, _ = _joined(livekit_server, "as livekit-rtc does")
    assert handed > 100


@pytest.mark.parametrize(("level", "is_told"), [("info", True), ("error", False)])
def test_it_writes_from_the_level_on_that_is_asked_for(
    livekit_server: LiveKitServer, level: str, is_told: bool
) -> None:
    _, written = _joined(livekit_server, "by itself", level)
    assert (f"connecting to {livekit_server.url}" in written) == is_told
