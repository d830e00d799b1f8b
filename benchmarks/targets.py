"""What the comparison is between, and what it is held to."""

GREENROOM, WORKER, RAISED, PROGRAMS = "Greenroom", "worker", "worker, load threshold 0.99", "program for each"
"""Ways of having an agent; the workers are livekit-agents' own."""

FASTER = 3.0
"""Than the worker, with warm agents at p50; and nobody is never served."""

RATES = (50, 200, 500)
"""Starts a second."""
HELD_RATE = 200
START_P99_MS = 25.0
"""A start takes less at p99 at that rate, and every one is served at once."""
