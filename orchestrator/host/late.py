"""Whether an agent that has not answered is late, or of no use (``docs/adr/0023-late-is-not-dead.md``)."""

from __future__ import annotations

import asyncio

from orchestrator.host.agent import Agent
from orchestrator.host.processes import awaits_processor

LATE_ACK_S = 2.0
"""So long an agent that lacks nothing but a processor may take to acknowledge: no start waits longer."""
LOOK_S, IDLE_LOOKS, LOOKS_FOR_LINE = 0.06, 3, 8
"""How often one that has not acknowledged is looked at. Idle so often, it is given up, and before its claim is; without
a line, which it tries to open ten times a second, a little later."""
PING_TIMEOUT_S, LATE_PING_S = 1.0, 3.0


def judge_soon(agent: Agent, fence: int) -> None:
    """Look at one that is asked to take an assignment, until it has answered or is given up.

    Given up is one that has what it needs to answer and does not.
    """
    _look_soon(agent, fence, 0, agent.has_line)


def _look_soon(agent: Agent, fence: int, idle_looks: int, had_line: bool) -> None:
    asyncio.get_running_loop().call_later(LOOK_S, _look, agent, fence, idle_looks, had_line)


def _look(agent: Agent, fence: int, idle_looks: int, had_line: bool) -> None:
    # What it says is read between two looks.
    if not agent.is_asked(fence):
        return
    has_line = agent.has_line
    only_hears_now = has_line and not had_line
    idle_looks = 0 if only_hears_now or awaits_processor(agent.process) else idle_looks + 1
    if idle_looks >= (IDLE_LOOKS if has_line else LOOKS_FOR_LINE):
        agent.give_up_on(fence)
    else:
        _look_soon(agent, fence, idle_looks, has_line)


async def answers(agent: Agent) -> bool:
    """Whether it answers a health check and is in its room, with more time where it lacks a processor."""
    if await agent.ping(PING_TIMEOUT_S):
        return True
    return awaits_processor(agent.process) and await agent.ping(LATE_PING_S)
