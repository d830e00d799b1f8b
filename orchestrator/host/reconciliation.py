"""Every few seconds: what the store says of this host's sessions, and the agents that run here, are made to agree."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from contract.states import SessionState
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.host.agent import Agent
from orchestrator.host.agents import Agents
from orchestrator.host.deaths import Deaths
from orchestrator.ports import SessionStore


class Reconciliation:
    """Of one host. What cannot be done while the store is away, the next round does."""

    def __init__(
        self, host: str, agents: Agents, store: SessionStore, deaths: Deaths, *, every_s: float, assign_lease_s: float
    ) -> None:
        self._host = host
        self._agents = agents
        self._store = store
        self._deaths = deaths
        self._every_s = every_s
        self._assign_lease_s = assign_lease_s
        self._missing: set[str] = set()

    async def run(self, entered: asyncio.Event) -> None:
        """Go round until cancelled. Before ``entered``, what is missing here may run on another machine."""
        await entered.wait()
        while True:
            await asyncio.sleep(self._every_s)
            await self.reconcile_agents()
            with suppress(StoreUnavailableError):
                await self.report_missing()

    async def reconcile_agents(self) -> None:
        """Each agent that runs here: the store is told of it, and it of what the store says."""
        for agent in self._agents.all():
            await self._agents.reconcile(agent)
            await self._end_if_unclaimed(agent)

    async def _end_if_unclaimed(self, agent: Agent) -> None:
        """A session whose answer was lost: nobody took a token or joined within the lease."""
        if agent.phase != "assigned" or agent.ending is not None:
            return
        with suppress(StoreUnavailableError):
            session = await self._store.get(agent.session_id)
            if session is None or session.state is not SessionState.ASSIGNED:
                return
            since = max(session.assigned_at or 0.0, session.token_at or 0.0)
            if await self._store.now() - since > self._assign_lease_s:
                only = (SessionState.ASSIGNED,)
                await self._store.finish(agent.session_id, SessionState.ENDED, "nobody joined in time", only_from=only)

    async def report_missing(self) -> None:
        """Sessions that the store believes to run here and that do not, seen twice in a row."""
        missing = {i for i in await self._store.owned_by(self._host) if self._agents.get(i) is None}
        for session_id in missing & self._missing:
            session = await self._store.get(session_id)
            if session is not None and session.agent is not None:
                self._deaths.lost(session_id, session.agent)
        self._missing = missing
