"""A user in a call with an agent of a running system: joins, speaks, and checks what comes back."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from orchestrator.adapters.livekit_client import Caller
from orchestrator.adapters.speech import spoken
from tests.support.system import System

ANSWER_S = 20.0
ASK_TRIES = 3
NOT_UNDERSTOOD = "[not understood]"


@dataclass
class Call:
    """One session and its user's side of the room."""

    system: System
    session_id: str
    caller: Caller
    clicked_at: float = 0.0
    answered_at: float = 0.0
    """When its start was asked for and answered, by the monotonic clock."""

    def post_timeline(self) -> None:
        """Tell what a user's page tells: from the click to the first sound, once that was heard."""
        moments = {
            "answer": self.answered_at,
            "connected": self.caller.joined_at,
            "firstSound": self.caller.first_sound_at,
        }
        marks = {"click": 0.0} | {name: (at - self.clicked_at) * 1000 for name, at in moments.items() if at is not None}
        with self.system.client() as client:
            client.post(f"/api/session/{self.session_id}/timeline", json={"marks": marks}).raise_for_status()

    @property
    def agent_pid(self) -> int:
        pid: int = self.system.session(self.session_id)["agentPid"]
        return pid

    async def ask(self, sentence: str) -> tuple[str, str]:
        """Say it, and again when it was not understood: a machine that is busy with a fault may tear the sound."""
        for _ in range(ASK_TRIES):
            said, answer, _ = await self.say(sentence)
            if said != NOT_UNDERSTOOD:
                break
        return said, answer

    async def say(self, sentence: str) -> tuple[str, str, bytes]:
        """Say it; returns how it was understood, the answer's text and its sound (mono int16)."""
        voice = spoken(sentence)
        return await self.say_pcm(voice.data, voice.sample_rate)

    async def say_pcm(self, pcm: bytes, rate: int) -> tuple[str, str, bytes]:
        seen = len(self.caller.transcripts)
        ended_at = await self.caller.say_pcm(pcm, rate)
        began_at = await self.caller.answer_to(ended_at, ANSWER_S)
        await self.caller.quiet(ANSWER_S)
        lines = self.caller.transcripts[seen:]
        said = " ".join(line.text for line in lines if line.who == "user")
        answer = " ".join(line.text for line in lines if line.who == "agent")
        return said.strip(), answer.strip(), self.caller.heard_after(began_at - 0.1)

    async def type(self, text: str) -> str:
        """Type it; returns the answer's text."""
        seen = len(self.caller.transcripts)
        sent_at = await self.caller.type_text(text)
        await self.caller.answer_to(sent_at, ANSWER_S)
        await self.caller.quiet(ANSWER_S)
        return " ".join(line.text for line in self.caller.transcripts[seen:] if line.who == "agent").strip()

    def spoken_by_agent(self) -> list[str]:
        return [line.text for line in self.caller.transcripts if line.who == "agent"]


@asynccontextmanager
async def calling(system: System, user: str = "ann", **body: str) -> AsyncIterator[Call]:
    """Start a session, join, hear the greeting; the session is ended afterwards."""
    clicked_at = monotonic()
    started = system.start_session(user, userName=user.title(), **body)
    answered_at = monotonic()
    session_id = started["sessionId"]
    try:
        if "join" not in started:
            system.wait_status(session_id, "ready")
        async with joined(system, session_id, user) as call:
            call.clicked_at, call.answered_at = clicked_at, answered_at
            await call.caller.answer_to(0.0, ANSWER_S)
            await call.caller.quiet(ANSWER_S)
            yield call
    finally:
        system.end(session_id)


@asynccontextmanager
async def joined(system: System, session_id: str, user: str = "ann") -> AsyncIterator[Call]:
    """Join the room of a session that there is."""
    with system.client() as client:
        join = client.post("/api/token", json={"sessionId": session_id, "userName": user.title()}).json()
    async with Caller() as caller:
        await caller.join(join["url"], join["token"])
        await caller.agent_seen(10.0)
        yield Call(system, session_id, caller)
