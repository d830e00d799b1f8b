"""The agent that all ways of starting one are compared with: the offline demonstration, which waits to be spoken to.

It says nothing first, so that its state is *listening* from the moment its session runs, whoever comes when.
"""

from __future__ import annotations

from livekit import rtc
from livekit.agents import Agent

from agent.conversation import Conversation
from contract.messages import Assignment

NAME = "benchmarks.quiet_agent:quiet"


class Quiet(Agent):
    """Speaks when it is spoken to."""

    async def on_enter(self) -> None:
        """Nothing is said first."""


def quiet(assignment: Assignment) -> Agent:
    """What ``AGENT`` names."""
    return Quiet(instructions=assignment.system_prompt or "Answer.")


def conversation(room: rtc.Room, name: str) -> Conversation:
    """The conversation that a Greenroom agent holds, in a program that has only a room."""
    assignment = Assignment(session_id=name, fence=1, user_id="u")
    return Conversation(room, assignment, quiet, on_turn=lambda _: None, on_end=lambda _: None)
