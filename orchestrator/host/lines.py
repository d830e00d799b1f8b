"""How many connections to the host's socket are open, by whose they are."""

from __future__ import annotations

import resource
from collections import Counter

import structlog

from orchestrator.host.peers import NOBODYS

log = structlog.get_logger("greenroom.host")

OF_AN_AGENT, OF_NOBODY, OF_WORKERS = 4, 16, 256
"""An agent needs one, and opens the next before its host has noticed that the last one broke. A worker has one for each
spawn (``SPAWN_CONCURRENCY``)."""


class Lines:
    """Keeps agents, with all that they started, from taking all of the host's file descriptors: it would end."""

    def __init__(self) -> None:
        self._open: Counter[int | None] = Counter()
        self._of_agents = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
        """All agents' together."""
        self._told: set[int | None] = set()

    def take(self, owner: int | None) -> bool:
        """One more of this agent's, or None for a worker's; returns whether there may be one."""
        if self._are_enough(owner):
            if owner not in self._told:  # once, and not for each of thousands
                log.warning("too many lines are open", agent_pid=owner, open=self._open[owner])
                self._told.add(owner)
            return False
        self._open[owner] += 1
        return True

    def _are_enough(self, owner: int | None) -> bool:
        most = {None: OF_WORKERS, NOBODYS: OF_NOBODY}.get(owner, OF_AN_AGENT)
        of_agents = self._open.total() - self._open[None]
        return self._open[owner] >= most or (owner is not None and of_agents >= self._of_agents)

    def give_back(self, owner: int | None) -> None:
        """One was closed."""
        self._open[owner] -= 1
        if not self._open[owner]:
            del self._open[owner]
            self._told.discard(owner)
