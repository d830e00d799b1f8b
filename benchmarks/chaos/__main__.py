"""Faults in a random order against the whole system, with users in it. ``python -m benchmarks.chaos --seed 7``

Ends with 1 when a promise was broken, and says which, with the seed; with 2 when this machine lacks something.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import random
import sys

from benchmarks.chaos.clock import MissingLibraryError
from benchmarks.chaos.faults import FAULTS, drawn
from benchmarks.chaos.report import publish
from benchmarks.chaos.run import run
from benchmarks.interrupt import INTERRUPTED, run_to_end


def main() -> int:
    """Returns the exit code."""
    options = _options()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10_000)
    faults = drawn(seed, options.faults, options.only)
    try:
        for fault in faults:
            fault.check()
    except MissingLibraryError as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 2
    logging.getLogger("livekit").setLevel(logging.CRITICAL)  # its client's complaints are the users' notices here
    print(f"chaos: seed {seed}, {len(faults)} faults", flush=True)
    try:
        outcome = run_to_end("chaos", run(seed, faults, say=lambda line: print(line, flush=True)))
    except asyncio.CancelledError:
        return INTERRUPTED
    publish(outcome, _command(seed, options))
    if outcome.broken:
        print(f"chaos: broken with seed {seed}: {len(outcome.broken)} findings, above", file=sys.stderr)
    return 1 if outcome.broken else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="the order of the faults and the users' rhythm; default: any, printed")
    parser.add_argument("--faults", type=_count, metavar="K", help="how many; default: each of them once")
    parser.add_argument("--only", action="append", default=[], choices=sorted(FAULTS), help="this one; may be repeated")
    return parser.parse_args()


def _count(text: str) -> int:
    if text.isascii() and text.isdigit() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"should be a number above 0, not {text!r}")


def _command(seed: int, options: argparse.Namespace) -> str:
    words = [f"python -m benchmarks.chaos --seed {seed}"]
    words += [f"--faults {options.faults}"] if options.faults else []
    words += [f'--only "{name}"' for name in options.only]
    return " ".join(words)


if __name__ == "__main__":
    sys.exit(main())
