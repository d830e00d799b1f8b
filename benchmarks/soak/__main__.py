"""Whether anything grows: a full pool and a user every other second, for a while. ``python -m benchmarks.soak``

Ends with 1 when a promise was broken, and says which.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys

from benchmarks.interrupt import INTERRUPTED, run_to_end
from benchmarks.soak.report import publish
from benchmarks.soak.run import EVERY_S, Plan, run

SEED = 5
AGENTS = 60
MINUTES = 45.0
"""Fifteen are too short to tell the heap of LiveKit, which is collected, from growth."""
FEWEST_MINUTES = 1.0


def main() -> int:
    """Returns the exit code."""
    options = _options()
    plan = Plan(options.minutes, options.agents, options.every)
    logging.getLogger("livekit").setLevel(logging.CRITICAL)  # its client's complaints are the users' notices here
    command = f"python -m benchmarks.soak --minutes {plan.minutes:g} --agents {plan.agents} --every {plan.every_s:g}"
    print(command, flush=True)
    try:
        outcome = run_to_end("soak", run(plan, SEED, say=lambda line: print(line, flush=True)))
    except asyncio.CancelledError:
        return INTERRUPTED
    publish(outcome, command)
    return 1 if outcome.broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=_minutes, default=MINUTES, help="how long users come (45)")
    parser.add_argument("--agents", type=int, default=AGENTS, help="that wait (60)")
    parser.add_argument("--every", type=float, default=EVERY_S, metavar="S", help="seconds between two users (2)")
    return parser.parse_args()


def _minutes(text: str) -> float:
    minutes = float(text)
    if minutes >= FEWEST_MINUTES:
        return minutes
    raise argparse.ArgumentTypeError(f"should be {FEWEST_MINUTES:g} at least: a slope needs points")


if __name__ == "__main__":
    sys.exit(main())
