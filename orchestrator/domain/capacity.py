"""How many agents a machine can have, by what was measured: pure policy.

* **Memory**: what is available less a reserve, over what an agent in a call takes. Agents that wait will grow to that,
  so what they have not taken yet is taken off first.
* **Processors**: a share of them over what an agent in a call uses, measured over all calls. Not the machine's load:
  what runs beside the agents comes and goes, and a busy moment must not turn callers away.
* ``MAX_BOTS``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ENOUGH_CALL_S = 300.0
"""With fewer seconds in calls measured, processors do not limit: a call's first seconds are not what it is like."""
HALF_LIFE_CALL_S = 1800.0
"""After so many more seconds in calls, what was measured before counts half."""

Limit = Literal["memory", "processors", "MAX_BOTS"]


@dataclass(frozen=True)
class CallUse:
    """Processor seconds that agents used in so many seconds of calls; older ones count less."""

    processor_s: float = 0.0
    call_s: float = 0.0

    def and_then(self, processor_s: float, call_s: float) -> CallUse:
        """With these added."""
        kept = 0.5 ** (call_s / HALF_LIFE_CALL_S)
        return CallUse(self.processor_s * kept + processor_s, self.call_s * kept + call_s)

    @property
    def share(self) -> float | None:
        """Of one processor, by one call; None before enough was measured."""
        return self.processor_s / self.call_s if self.call_s >= ENOUGH_CALL_S else None


@dataclass(frozen=True)
class CapacityPolicy:
    """The host's settings."""

    max_agents: int
    memory_reserve_bytes: int
    agent_memory_bytes: int
    """What an agent in a call takes, until one was measured."""
    processor_share: float = 0.8
    """Of the processors, for agents in calls: in a queue that is fuller, answers begin to wait. 0: no limit."""


@dataclass(frozen=True)
class MachineUse:
    """A machine and its agents at one moment."""

    agents: int
    """Those on their way included."""
    memory_available_bytes: int
    agent_private_bytes: int
    """Mean of all agents; 0 without any."""
    call_private_bytes: int | None
    """Mean of those in calls, as last measured; None before the first."""
    processors: float
    call_use: CallUse = CallUse()


@dataclass(frozen=True)
class Capacity:
    """How many agents there can be, those that are included. ``reason`` names what limits it."""

    agents: int
    limit: Limit
    reason: str


def capacity(use: MachineUse, policy: CapacityPolicy) -> Capacity:
    """The least of what memory, processors and ``MAX_BOTS`` let there be."""
    found = [
        Capacity(policy.max_agents, "MAX_BOTS", f"MAX_BOTS is {policy.max_agents}"),
        _by_memory(use, policy),
        *_by_processors(use, policy),
    ]
    return min(found, key=lambda each: each.agents)


def busy_percent(calls: int, capacity: int) -> float:
    """How much of the capacity is in calls; 100 where there is none, for then everybody waits."""
    return round(100 * calls / capacity, 1) if capacity else 100.0


def _by_memory(use: MachineUse, policy: CapacityPolicy) -> Capacity:
    """Those that are stay, however little is left."""
    measured = use.call_private_bytes
    each = max(1, policy.agent_memory_bytes if measured is None else measured)
    to_grow = max(0, each - use.agent_private_bytes) * use.agents
    left = use.memory_available_bytes - policy.memory_reserve_bytes - to_grow
    reason = (
        f"memory: {_mb(use.memory_available_bytes)} available, {_mb(policy.memory_reserve_bytes)} in reserve, "
        f"{_mb(each)} for an agent in a call{' (assumed)' if measured is None else ''}"
    )
    return Capacity(use.agents + max(0, left // each), "memory", reason)


def _by_processors(use: MachineUse, policy: CapacityPolicy) -> list[Capacity]:
    """One at least: where a single call uses more than the share, there is no better number."""
    share = use.call_use.share
    if not share or not policy.processor_share:
        return []
    fit = use.processors * policy.processor_share / share
    agents = max(1, int(min(fit, policy.max_agents)))  # a call that used next to nothing makes it infinite
    words = f"processors: {use.processors:g}, {policy.processor_share:.0%} for agents, {share:.2g} for one in a call"
    return [Capacity(agents, "processors", words)]


def _mb(amount: int) -> str:
    return f"{amount / 2**20:.0f} MiB"
