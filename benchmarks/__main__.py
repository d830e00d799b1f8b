"""Run benchmarks one after another, then the table that compares: ``python -m benchmarks [NAME …]``."""

from __future__ import annotations

import argparse
import subprocess
import sys

BENCHMARKS = {
    "alternatives": "Greenroom, a program for each agent, livekit-agents' own worker: bursts of 1, 10, 30",
    "open_loop": "a start beside a bare endpoint, at 50, 200 and 500 a second",
    "claims": "100,000 claims while answers are dropped",
    "native_log": "a join, with LiveKit's native log handed to Python and without",
    "start_latency": "a start with a warm agent, one caller",
    "start_throughput": "starts a second, 16 callers",
    "cold_start": "starts with an empty pool",
    "spawn_rate": "agents a minute, and their memory",
    "answer_latency": "from the end of a sentence to the answer",
    "click_to_agent": "from the click to the agent, in Chromium",
    "pool_policy": "the pool's size over a made-up day",
}
"""In this order; what each takes is in docs/benchmarks.md."""
COMPARED = {"alternatives", "open_loop", "claims"}


def main() -> None:
    """Every one that is named, or all; the first that fails ends it."""
    listed = "\n".join(f"  {name:17} {what}" for name, what in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", epilog=listed, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="those to run; all without one")
    names = parser.parse_args().names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    for name in names:
        _run(name)
    if COMPARED & set(names):
        _run("comparison")


def _run(name: str) -> None:
    code = subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode
    if code:
        sys.exit(code)


if __name__ == "__main__":
    main()
