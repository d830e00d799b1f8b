"""Replace agents that died in a call, and find the hosts that are lost. Policy decides; this performs."""

from __future__ import annotations

import structlog

from contract.keys import DEFAULT_KIND
from orchestrator.domain.hosts import Lose, LossPolicy, Pulse, Suspect, judge
from orchestrator.ports import HostRegistry, SessionStore, TaskQueue
from orchestrator.records import AgentIdentity, Death, HostView, ReplaceRule
from orchestrator.services.pool import KeepPool

log = structlog.get_logger("greenroom.replace")


class ReplaceAgents:
    """The use cases behind an agent's death and the ``replace_lost`` task."""

    def __init__(
        self,
        store: SessionStore,
        registry: HostRegistry,
        queue: TaskQueue,
        pool: KeepPool,
        *,
        rule: ReplaceRule,
        loss: LossPolicy,
        spawn_deadline_s: float,
    ) -> None:
        self._store = store
        self._registry = registry
        self._queue = queue
        self._pool = pool
        self._rule = rule
        self._loss = loss
        self._spawn_deadline_s = spawn_deadline_s

    async def agent_died(self, session_id: str, agent: AgentIdentity, reason: str, code: str) -> Death:
        """An agent died unexpectedly, or does not answer. Safe to repeat, which is how a lost answer is made up for.

        Raises:
            StoreUnavailableError: nothing may have been done.
            QueueUnavailableError: its replacement is not queued yet.
        """
        death = await self._store.replace(session_id, agent, reason, code, self._rule)
        if death is Death.REPLACED:
            log.warning("agent is replaced", session_id=session_id, code=code, reason=reason)
            await self._spawn(session_id)
        return death

    async def look(self) -> list[str]:
        """Look for lost hosts and replace their agents; returns the sessions that get another one."""
        views = {view.host: view for view in await self._registry.hosts()}
        pulses = [Pulse(view.host, float(view.heard), view.suspect_at) for view in views.values()]
        replaced: list[str] = []
        for verdict in judge(pulses, self._loss, await self._store.now()):
            match verdict:
                case Suspect(host):
                    await self._registry.suspect(host, views[host].heard)
                case Lose(host):
                    replaced += await self._lose(views[host])
        if gone := await self._registry.forget_gone():
            log.info("hosts that are gone are forgotten", hosts=gone)
        return replaced + await self._queue_again()

    async def _lose(self, view: HostView) -> list[str]:
        loss = await self._store.lose_host(view.host, view.heard, self._rule)
        if loss.news:
            log.error("host is lost", host=view.host, replaced=len(loss.replaced), failed=len(loss.failed))
        for session_id in loss.replaced:
            await self._spawn(session_id)
        if loss.failed:
            await self._pool.trigger()
        return list(loss.replaced)

    async def _spawn(self, session_id: str) -> None:
        """Queue one for the workers that serve the kind of agent which this call has."""
        session = await self._store.get(session_id)
        await self._queue.spawn(session_id, urgent=True, kind=DEFAULT_KIND if session is None else session.kind)

    async def _queue_again(self) -> list[str]:
        """Replacements whose spawn nobody began: whoever was to queue it died in between."""
        now = await self._store.now()
        again = []
        for spawn in (await self._store.snapshot()).spawning:
            unbegun = spawn.replaces and spawn.attempts == 0 and spawn.deadline <= now
            if unbegun and await self._store.respawn(spawn.session_id, self._spawn_deadline_s):
                await self._queue.spawn(spawn.session_id, urgent=True, kind=spawn.kind)
                again.append(spawn.session_id)
        return again
