"""What the end of an agent comes to: it is recorded, its call goes on or its room is closed, and the pool is filled."""

from __future__ import annotations

import signal
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog

from contract.messages import SIGNALLED
from contract.states import SessionState
from orchestrator.domain.errors import GreenroomError
from orchestrator.domain.session import is_final
from orchestrator.host.agent_files import LastWord
from orchestrator.host.outbox import Outbox
from orchestrator.ports import Rooms, SessionStore
from orchestrator.records import AgentIdentity, Death

log = structlog.get_logger("greenroom.host")

DIED, UNRESPONSIVE, HOST_LOST = "agent_died", "agent_unresponsive", "host_lost"


class Replacer(Protocol):
    """Decides what an agent's death comes to (``services.replace.ReplaceAgents``)."""

    async def agent_died(self, session_id: str, agent: AgentIdentity, reason: str, code: str) -> Death:
        """An agent died unexpectedly, or does not answer."""


class CallEnds(Protocol):
    """Hears when a call may be over (``host.measures.CallCounter``)."""

    async def over(self, session_id: str) -> None:
        """An agent is gone, and its call may be over."""


class Background(Protocol):
    """Runs something beside the rest and keeps hold of it."""

    def __call__(self, coroutine: Coroutine[Any, Any, object]) -> object:
        """Run it."""


class Deaths:
    """Reports how agents ended, each in its session's place in the outbox."""

    def __init__(
        self,
        store: SessionStore,
        replacer: Replacer,
        rooms: Rooms,
        calls: CallEnds,
        outbox: Outbox,
        background: Background,
        on_change: Callable[[], object],
    ) -> None:
        self._store = store
        self._replacer = replacer
        self._rooms = rooms
        self._calls = calls
        self._outbox = outbox
        self._background = background
        self._on_change = on_change
        """Called when the pool may lack an agent."""

    def gone(
        self, session_id: str, agent: AgentIdentity, word: LastWord | None, status: int | None, ending: str | None
    ) -> None:
        """One is dead. ``ending`` is why its host was ending it, if it was."""
        if ending is not None and (word is None or word.ok or word.reason == SIGNALLED):
            # Ended from here: the agent may have met the signal before it read why, or was killed before it could say.
            on_purpose, reason = True, ending
        else:
            on_purpose, reason = word is not None and word.ok, cause_of_death(word, status)
        log.info("agent is gone", session_id=session_id, on_purpose=on_purpose, reason=reason)
        self._over(session_id, agent, reason, on_purpose=on_purpose)

    def lost(self, session_id: str, agent: AgentIdentity, word: LastWord | None = None) -> None:
        """One died while nobody watched. Of how far it was, only the store knows."""
        reason = "its agent process is gone" if word is None else word.reason
        log.warning("session without a process", session_id=session_id, reason=reason)
        self._over(session_id, agent, reason, on_purpose=word is not None and word.ok)

    def given_up(self, session_id: str, agent: AgentIdentity, reason: str, code: str) -> None:
        """One is of no use any more, dead or not: its call goes on with another agent, or has failed."""
        self._outbox.put(session_id, lambda: self._died(session_id, agent, reason, code), must_keep=True)

    def _over(self, session_id: str, agent: AgentIdentity, reason: str, *, on_purpose: bool) -> None:
        if on_purpose:
            self._outbox.put(session_id, lambda: self._ended(session_id, agent, reason), must_keep=True)
        else:
            self.given_up(session_id, agent, reason, DIED)
        self._outbox.put(session_id, lambda: self._calls.over(session_id), must_keep=True)

    async def _ended(self, session_id: str, agent: AgentIdentity, reason: str) -> None:
        done = await self._store.finish(session_id, SessionState.ENDED, reason, agent=agent)
        if done.changed or done.previous is None or is_final(done.previous):
            self._background(self._close_room(session_id))
        self._on_change()

    async def _died(self, session_id: str, agent: AgentIdentity, reason: str, code: str) -> None:
        """Another agent goes on in the same room, or the room is closed."""
        death = await self._replacer.agent_died(session_id, agent, reason, code)
        if death in (Death.FAILED, Death.OVER):
            self._background(self._close_room(session_id))
        self._on_change()

    async def _close_room(self, session_id: str) -> None:
        try:
            await self._rooms.delete(session_id)
        except GreenroomError as error:
            # The room's own time-outs close it.
            log.warning("room not closed", session_id=session_id, reason=error.detail)


def cause_of_death(word: LastWord | None, status: int | None) -> str:
    """By its last word, else by its exit status, which is negative for a signal."""
    if word is not None:
        return word.reason
    if status is not None and status < 0:
        return f"the agent process died ({_name_of(-status)})"
    return "the agent process died" if status is None else f"the agent process died (exit code {status})"


def _name_of(number: int) -> str:
    """Most real-time signals have none."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
