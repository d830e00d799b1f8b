"""How nice each agent's scheduling group is, so that many agents do not starve what they all need: pure policy.

Where the kernel makes a group of each session (sched(7), autogroup), an agent has one for itself, while the API, Redis,
host and LiveKit share another one: seventy agents of niceness 5 leave those 4 % of the processors. Then rooms are lost,
agents that are well join again, and nobody is served any more.
"""

from __future__ import annotations

from math import ceil, log

FEW = 8
"""Agents of niceness 5 weigh two and a half times as much together as a group of niceness 0: more share that."""
STEP, NICEST = 1.25, 19
"""A group's weight from one niceness to the next: sched(7), ``sched_prio_to_weight`` in the kernel."""


def group_niceness(nice: int, agents: int) -> int:
    """Of each of so many agents, from 0 to 19; ``nice`` for few."""
    return min(NICEST, nice + max(0, ceil(log(max(1, agents) / FEW, STEP))))
