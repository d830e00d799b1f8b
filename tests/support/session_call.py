"""A user in the room of a stack's session, through the death of its agents."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from livekit import api

from agent.voices.script import GREETING
from contract.states import FINAL_STATES, SessionState
from orchestrator.adapters.livekit_client import Caller
from orchestrator.records import Session
from orchestrator.services.start import Handed
from tests.support.stack import Backend, eventually

HEAR_S = 20.0


@dataclass
class SessionCall:
    """The user's side, and what the test sees of the session."""

    backend: Backend
    session_id: str
    caller: Caller

    @property
    def lines(self) -> list[str]:
        return [line.text.strip() for line in self.caller.transcripts if line.who == "agent"]

    async def hears(self, sentence: str, *, times: int = 1) -> None:
        async def heard() -> bool:
            return self.lines.count(sentence) >= times

        await eventually(heard, what=f"{sentence!r} is said {times} times")
        await self.caller.quiet(HEAR_S)

    async def asks(self, text: str) -> str:
        """Type it; returns the answer."""
        before = len(self.lines)
        sent_at = await self.caller.type_text(text)
        await self.caller.answer_to(sent_at, HEAR_S)
        await self.caller.quiet(HEAR_S)
        return " ".join(self.lines[before:])

    async def session(self) -> Session:
        return await self.backend.session(self.session_id, SessionState.ACTIVE)


async def another_agent(backend: Backend, than: Session) -> Session:
    """The session, once its agent is another one."""

    async def look() -> Session | None:
        session = await backend.store.get(than.session_id)
        assert session is not None
        assert session.state not in FINAL_STATES, session
        return session if session.agent not in (None, than.agent) else None

    return await eventually(look, what="another agent")


async def agents_in_room(backend: Backend, session_id: str) -> list[api.ParticipantInfo]:
    kind = api.ParticipantInfo.Kind.AGENT
    return [p for p in await backend.participants(session_id) if p.kind == kind]


@dataclass
class Watch:
    """Everything that LiveKit ever said of the agents in one room."""

    sids: list[str] = field(default_factory=list)
    """In the order in which they came."""
    most_at_once: int = 0
    looks: int = 0

    async def run(self, backend: Backend, session_id: str) -> None:
        while True:
            with contextlib.suppress(api.TwirpError):
                found = await agents_in_room(backend, session_id)
                self.sids += [p.sid for p in found if p.sid not in self.sids]
                self.most_at_once = max(self.most_at_once, len(found))
                self.looks += 1
            await asyncio.sleep(0.02)


@contextlib.asynccontextmanager
async def watching(backend: Backend, session_id: str) -> AsyncIterator[Watch]:
    watch = Watch()
    task = asyncio.create_task(watch.run(backend, session_id))
    try:
        yield watch
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def claimed(backend: Backend) -> Session:
    """An agent out of the pool, which belongs to a user."""

    async def some() -> bool:
        if not await backend.pool():
            await backend.container.pool.trigger()
        return bool(await backend.pool())

    await eventually(some, what="an agent in the pool")
    handed = await backend.start("user-x")
    assert isinstance(handed, Handed)
    return await backend.session(handed.session_id, SessionState.ASSIGNED)


@contextlib.asynccontextmanager
async def joined(backend: Backend, session_id: str) -> AsyncIterator[SessionCall]:
    container = backend.container
    token = container.tokens.user(session_id, "user-x", "Ann", issued_at=time.time() - 10, ttl_s=600)
    async with Caller() as caller:
        await caller.join(container.settings.livekit_url, token)
        yield SessionCall(backend, session_id, caller)


@contextlib.asynccontextmanager
async def calling(backend: Backend) -> AsyncIterator[SessionCall]:
    """Claim an agent, join, hear the greeting."""
    session = await claimed(backend)
    async with joined(backend, session.session_id) as call:
        await call.hears(GREETING)
        yield call
