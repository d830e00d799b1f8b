"""The agent that talks when the operator named no other: ``AGENT=agent.assistant:assistant``."""

from __future__ import annotations

from livekit.agents import Agent

from agent.settings import load_settings
from agent.voices.script import GREETING as DEMONSTRATION_GREETING
from contract.messages import Assignment

INSTRUCTIONS = (
    "You are a friendly voice assistant. Your words are spoken aloud: answer in one to three short, plain"
    " sentences, without lists, markup or emoji. When you did not understand, say so and ask."
)
GREETING = "Hello{name}. How can I help you?"


class Assistant(Agent):
    """An agent with a greeting, which the conversation says once when the user is there."""

    def __init__(self, *, instructions: str, greeting: str) -> None:
        super().__init__(instructions=instructions)
        self.greeting = greeting


def assistant(assignment: Assignment) -> Agent:
    """The default agent: the caller's prompt, or a good default."""
    name = f", {assignment.user_name}" if assignment.user_name else ""
    demonstration = load_settings().demonstration
    return Assistant(
        instructions=assignment.system_prompt or INSTRUCTIONS,
        greeting=DEMONSTRATION_GREETING if demonstration else GREETING.format(name=name),
    )
