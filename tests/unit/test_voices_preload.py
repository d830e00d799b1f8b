"""What the zygote needs of ``preload``: one thread before the fork, and little private memory after it."""

from __future__ import annotations

import json
import os
import subprocess
import sys

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
json.dump({"threads": threads, "dirty_kib": int(os.read(reader, 64)), "loop": loop_made, "runtime": runtime},
          sys.stdout)
"""


def test_after_preload_a_fork_is_safe_and_small() -> None:
    environment = {**os.environ, "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    seen = json.loads(done.stdout)
    assert seen["threads"] == 1
    assert not seen["loop"]
    assert not seen["runtime"]
    assert seen["dirty_kib"] < 8 * 1024
