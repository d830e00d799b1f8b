"""What the zygote needs of ``preload``: one thread before the fork, and little private memory after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

PROGRAM = """
import gc, json, os, sys
gc.disable()
from agent import voices
from agent.assistant import assistant
voices.preload()
gc.collect()
gc.freeze()
threads = len(os.listdir("/proc/self/task"))
reader, writer = os.pipe()
child = os.fork()
if child == 0:
    gc.enable()
    gc.collect()
    lines = open("/proc/self/smaps_rollup").read().splitlines()
    dirty = next(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))
    os.write(writer, str(dirty).encode())
    os._exit(0)
os.waitpid(child, 0)
loop_made = "asyncio" in sys.modules and sys.modules["asyncio"]._get_running_loop() is not None
runtime = sys.modules["livekit.rtc._ffi_client"].FfiClient._instance is not None
plugins = sorted(name for name in sys.modules if name.startswith("livekit.plugins.") and name.count(".") == 2)
json.dump({"threads": threads, "dirty_kib": int(os.read(reader, 64)), "loop": loop_made, "runtime": runtime,
           "plugins": plugins}, sys.stdout)
"""
PLUGINS = {"livekit.plugins.assemblyai", "livekit.plugins.groq", "livekit.plugins.inworld"}


@pytest.mark.parametrize("key", ["", "GROQ_API_KEY"])
def test_after_preload_a_fork_is_safe_and_small(key: str) -> None:
    """The providers' plugins are there before the fork where a key is set, and else not at all."""
    keys = dict.fromkeys(("ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY"), "")
    environment = {**os.environ, **keys, "OPENBLAS_NUM_THREADS": "1"} | ({key: "a-key"} if key else {})
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    seen = json.loads(done.stdout)
    assert seen["threads"] == 1
    assert not seen["loop"]
    assert not seen["runtime"]
    assert seen["dirty_kib"] < 8 * 1024
    assert PLUGINS & {*seen["plugins"]} == (PLUGINS if key else set())
