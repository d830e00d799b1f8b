"""Have an agent started for a session on this machine. Runs in a worker."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import suppress

import structlog

from contract import tracing
from contract.keys import DEFAULT_KIND
from contract.messages import Spawn
from contract.states import SessionState
from orchestrator.domain.backoff import Backoff
from orchestrator.domain.errors import (
    AgentsUnavailableError,
    GreenroomError,
    HostDrainingError,
    HostFullError,
    PassedOnError,
    RoomsUnavailableError,
)
from orchestrator.domain.session import IN_CALL, is_final
from orchestrator.ports import LocalHost, Rooms, SessionStore, TaskQueue
from orchestrator.services.breaker import SpawnBreaker
from orchestrator.services.pool import KeepPool

log = structlog.get_logger("greenroom.spawn")


BACK_PAUSE_S = 0.05
"""Before a spawn goes back into its queue: so a host's worker does not snatch what it may not do again and again."""
PASS_PAUSE_S, LONGEST_PASS_PAUSE_S = 0.02, 0.64
"""The same for one that another host is to do. That host's worker is mostly the next; a busy one is given more time."""
HOST_DRAINS, HOST_FULL = "host_draining", "host_full"
HOST_AWAY = "host_unavailable"
"""A host that restarts needs some seconds: a user waits for it rather than fails."""
HOST_BACKOFF = Backoff(base_s=0.5, cap_s=2.0, tries=14)
"""Some 25 s in all."""


class TryAgainError(Exception):
    """This try failed; the next one is due in ``delay_s`` seconds."""

    def __init__(self, delay_s: float, reason: str) -> None:
        super().__init__(reason)
        self.delay_s = delay_s


class SpawnAgent:
    """The use case behind the ``spawn_agent`` and ``check_agents`` tasks."""

    def __init__(
        self,
        store: SessionStore,
        rooms: Rooms,
        host: LocalHost,
        pool: KeepPool,
        queue: TaskQueue,
        breaker: SpawnBreaker,
        *,
        host_id: str,
        timeout_s: float,
        deadline_s: float,
        backoff: Backoff | None = None,
    ) -> None:
        self._store = store
        self._rooms = rooms
        self._host = host
        self._pool = pool
        self._queue = queue
        self._breaker = breaker
        self._host_id = host_id
        self._timeout_s = timeout_s
        self._deadline_s = deadline_s
        self._backoff = backoff or Backoff()

    async def __call__(self, session_id: str, task: str = "") -> bool:
        """Make the room, have the host fork; false when this spawn is over, or another worker's.

        So it is when nobody needs the agent any more, another host is to start it, this one drains or is full, or
        spawns keep failing.

        ``task`` names whoever makes these tries: of two that were queued for one session, one goes on.

        Raises:
            TryAgainError: it failed, and a try is left. Without one left the session is ``failed`` with the reason.
        """
        attempt = await self._begin(session_id, task)
        if attempt == 0:
            return False
        session = await self._store.get(session_id)
        kind = DEFAULT_KIND if session is None else session.kind
        # A user has it already: its agent died, and this one is to replace it.
        failure = await self._try(session_id, kind, in_call=session is not None and session.state in IN_CALL)
        if failure is None:
            await self._breaker.succeeded(kind)
            await self._pool.trigger()
            return True
        if failure[0] in {HOST_DRAINS, HOST_FULL}:
            await self._give_back(session_id, counted=True, full=failure[0] == HOST_FULL)
            return False
        await self._failed(session_id, kind, attempt, *failure)
        return False

    async def _begin(self, session_id: str, task: str) -> int:
        """Which try this is, from 1; 0 when it is not begun: whatever follows from that is done."""
        attempt = 0
        try:
            attempt = await self._store.begin_spawn(session_id, self._deadline_s, self._host_id, task=task)
            if attempt == 0:
                await self._leave_nothing(session_id)
        except (HostDrainingError, HostFullError):
            await self._give_back(session_id, counted=False)
        except PassedOnError as error:
            pause_s = min(PASS_PAUSE_S * 2 ** (error.passed - 1), LONGEST_PASS_PAUSE_S)
            await self._give_back(session_id, counted=False, pause_s=pause_s)
        except AgentsUnavailableError as error:
            await self._hold_back(session_id, error.detail, failed=False)
        return attempt

    async def check(self) -> list[str]:
        """Have this machine's host ping its agents; returns the sessions of those it ended."""
        ended = (await self._host.check()).ended
        if ended:
            await self._pool.trigger()
        return list(ended)

    async def _try(self, session_id: str, kind: str, *, in_call: bool) -> tuple[str, str] | None:
        """None when the agent is in its room, else a stable code and the reason in words."""
        request = Spawn(
            session_id=session_id,
            requested_at=time.time(),
            timeout_s=self._timeout_s,
            in_call=in_call,
            trace=tracing.carried(),
            kind=None if kind == DEFAULT_KIND else kind,
        )
        try:
            await self._rooms.create(session_id)
            outcome = await self._host.spawn(request)
        except GreenroomError as error:
            return error.code, error.detail
        return None if outcome.ok else (outcome.code or "agent_failed", outcome.reason or "the agent did not start")

    async def _give_back(
        self, session_id: str, *, counted: bool, full: bool = False, pause_s: float = BACK_PAUSE_S
    ) -> None:
        """Let another host do it, in the room that may have been made."""
        host = self._host_id if full else ""
        again = await self._store.give_back(session_id, self._deadline_s, counted=counted, full_host=host)
        session = await self._store.get(session_id)
        if again:
            await asyncio.sleep(pause_s)
            kind = DEFAULT_KIND if session is None else session.kind
            await self._queue.spawn(session_id, urgent=session is not None and session.user_id is not None, kind=kind)
        elif session is None or session.agent is None:  # this try's agent may have come, though its answer did not
            await self._close_room(session_id)

    async def _hold_back(self, session_id: str, reason: str, *, failed: bool) -> bool:
        """Spawns keep failing: its user waits; one for the pool is over. False for a call's, whose tries go on."""
        held = await self._store.hold_spawn(session_id, reason, failed=failed)
        if held:
            await self._close_room(session_id)
        return held

    async def _leave_nothing(self, session_id: str) -> None:
        """Close the room of a session that ended while it had no agent, whose end would have closed it."""
        session = await self._store.get(session_id)
        if session is not None and session.replacements and is_final(session.state):
            await self._close_room(session_id)

    async def _close_room(self, session_id: str) -> None:
        with suppress(RoomsUnavailableError):  # the room's own time-outs close it
            await self._rooms.delete(session_id)

    async def _failed(self, session_id: str, kind: str, attempt: int, code: str, reason: str) -> None:
        await self._store.count_spawn_failure(code)
        hold_back = await self._breaker.failed(code, reason, kind)
        away = code == HOST_AWAY
        backoff, jitter = (HOST_BACKOFF, 1.0) if away else (self._backoff, random.random())  # noqa: S311
        delay_s = backoff.delay_s(attempt, jitter)
        if delay_s is not None and hold_back and await self._hold_back(session_id, reason, failed=True):
            return
        if delay_s is not None:
            raise TryAgainError(delay_s, reason)
        # Only if it still lacks one: where this try's answer was lost, its agent may have come after all.
        failed = SessionState.FAILED
        done = await self._store.finish(session_id, failed, reason, code="spawn_failed", without_agent=True)
        if not done.changed and done.previous is not None and not is_final(done.previous):
            return
        await self._close_room(session_id)
        log.error("spawn failed", session_id=session_id, attempts=attempt, code=code, kind=kind, reason=reason)
