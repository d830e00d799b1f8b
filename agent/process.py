"""The agent process: one session's life in its room. Joined and waiting, then talking, then gone."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from livekit import rtc

from agent import native_log, traces
from agent.conversation import Conversation
from agent.host_link import HostLink
from agent.loading import AgentFactory
from agent.logs import Lines, redirect
from contract import tracing
from contract.messages import (
    SIGNALLED,
    Admit,
    AgentPhase,
    AnyMessage,
    Assign,
    Assigned,
    Assignment,
    End,
    Fork,
    Hello,
    Leaving,
    Ping,
    Pong,
    Ready,
    Resumption,
    Turn,
    UserJoined,
    UserLeft,
)
from contract.procfs import private_bytes, start_ticks

log = logging.getLogger("greenroom.agent")

WATCH_S = 0.5
"""How often the agent looks at its own limits."""
HEAD_START_S = 0.01
CLOSE_TIMEOUT_S = 2.0
LEAVE_AT_MOST_S = 5
"""Then the kernel ends the process: a thread of the user's agent that never returns would hold up its exit for ever."""
JOIN_TIMEOUT_S = 60.0
"""The host ends an agent that is not in its room in time (``SPAWN_TIMEOUT_S``); this one is for an agent without it."""


@dataclass(frozen=True)
class LastWord:
    """Why the agent ended; ``ok`` is false when something broke."""

    reason: str
    ok: bool = True


def run_agent(fork: Fork, factory: AgentFactory) -> int:
    """Live the session through; returns the process's exit code (0, or 1 when something broke)."""
    lines = redirect(fork.log_path, fork.session_id)
    native_log.write_it_itself()
    word = asyncio.run(_live(fork, factory, lines))
    # Written in place: an agent that runs as another user may write this file, and make none. Its host reads it
    # when the agent is dead, and takes half a word for none.
    Path(fork.last_word_path).write_text(json.dumps({"reason": word.reason, "ok": word.ok}))
    return 0 if word.ok else 1


async def _live(fork: Fork, factory: AgentFactory, lines: Lines) -> LastWord:
    return await AgentProcess(fork, factory, lines).run()


class AgentProcess:
    """What one agent knows: its room, its host, at most one assignment ever, and when it must end.

    Made inside the event loop that it lives on.
    """

    def __init__(self, fork: Fork, factory: AgentFactory, lines: Lines) -> None:
        self._fork = fork
        self._factory = factory
        self._lines = lines
        lines.know(tracing.trace_id(fork.trace))
        self._room = rtc.Room()
        self._link = HostLink(fork.host_socket, self._hello, self._on_message)
        self._end: asyncio.Future[LastWord] = asyncio.get_running_loop().create_future()
        self._token: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._phase: AgentPhase = "joining"
        self._created_at = time.time()
        self._startup_s: float | None = None
        self._assignment: Assignment | None = None
        self._conversation: Conversation | None = None
        self._assigned_at = 0.0
        self._last_activity = 0.0
        self._user_left_at: float | None = None
        self._came_early: UserJoined | None = None
        """A user who was there before the conversation had started."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> LastWord:
        """Join, wait, talk, leave; returns why it ended."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._finish, LastWord(SIGNALLED, ok=False))
        self._spawn(self._link.run())
        self._spawn(self._watch())
        self._spawn(self._join())
        word = await self._end
        await self._leave(word)
        return word

    # --- the room --------------------------------------------------------------------------------------

    async def _join(self) -> None:
        self._room.on("disconnected", self._on_disconnected)
        self._room.on("participant_connected", self._on_participant)
        self._room.on("participant_disconnected", self._on_participant)
        async with asyncio.timeout(JOIN_TIMEOUT_S):
            await self._room.connect(self._fork.livekit_url, await self._token)
        self._startup_s = time.time() - self._fork.requested_at
        self._phase = "ready"
        self._link.send(Ready(startup_s=self._startup_s))
        log.info("joined", extra={"room": self._fork.session_id, "startup_s": round(self._startup_s, 4)})
        await traces.joined(self._fork, time.time())

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        name = rtc.DisconnectReason.Name(reason)
        closed_on_purpose = name in {"ROOM_DELETED", "ROOM_CLOSED", "CLIENT_INITIATED"}
        self._finish(LastWord(f"the room connection ended ({name.lower()})", ok=closed_on_purpose))

    def _users(self) -> list[rtc.RemoteParticipant]:
        kinds = rtc.ParticipantKind
        others = (kinds.PARTICIPANT_KIND_AGENT, kinds.PARTICIPANT_KIND_EGRESS)  # an egress records; nobody is there
        return [p for p in self._room.remote_participants.values() if p.kind not in others]

    def _on_participant(self, _: rtc.RemoteParticipant) -> None:
        # Before that nobody listens to a user who is told to be in a call; ``_converse`` looks when somebody does.
        if self._conversation is not None:
            self._look_for_users()
        elif self._assignment is not None and (users := self._users()):
            self._came_early = UserJoined(identity=users[0].identity, at=time.time())

    def _look_for_users(self) -> None:
        users, now = self._users(), time.time()
        if users:
            self._last_activity = now
            self._user_left_at = None
            self._phase = "active"
            self._link.send(UserJoined(identity=users[0].identity, at=now))
            if self._conversation is not None:
                self._spawn(self._conversation.greet())
        elif self._phase == "active" and self._user_left_at is None:
            self._user_left_at = now
            self._link.send(UserLeft(at=now))

    # --- the host --------------------------------------------------------------------------------------

    def _hello(self) -> Hello:
        return Hello(
            session_id=self._fork.session_id,
            pid=os.getpid(),
            start_ticks=start_ticks(os.getpid()),
            phase=self._phase,
            created_at=self._created_at,
            startup_s=self._startup_s,
            assignment=self._assignment,
            proof=self._fork.proof,
            kind=self._fork.kind,
        )

    async def _on_message(self, message: AnyMessage) -> None:
        match message:
            case Admit():
                if not self._token.done():  # a host that came back says it again
                    self._token.set_result(message.token)
            case Assign():
                self._assign(message)
            case End():
                self._finish(LastWord(message.reason))
            case Ping():
                in_room = self._room.isconnected()
                self._link.send(Pong(seq=message.seq, in_room=in_room, private_bytes=private_bytes("self")))
            case _:
                log.warning("unexpected message", extra={"type": message.type})

    def _assign(self, message: Assign) -> None:
        """Accept the first assignment, and the same one again; refuse any other."""
        assignment, resumption = message.assignment, message.resumption
        refusal = self._refusal(assignment)
        self._link.send(Assigned(fence=assignment.fence, accepted=refusal is None, reason=refusal))
        if refusal is None and self._assignment is None:
            self._assignment = assignment
            self._lines.know(tracing.trace_id(assignment.trace))
            self._phase = "active" if resumption is not None and resumption.active else "assigned"
            self._last_activity = time.time()
            self._assigned_at = self._last_activity - (resumption.elapsed_s if resumption is not None else 0.0)
            self._spawn(self._converse(assignment, resumption))

    def _refusal(self, assignment: Assignment) -> str | None:
        if self._assignment is not None:
            return None if self._assignment.fence == assignment.fence else "taken"
        # Not ``isconnected()``, which is true while it reconnects too: a LiveKit that was restarted has lost the room.
        if self._end.done() or self._room.connection_state != rtc.ConnectionState.CONN_CONNECTED:
            return "not in its room"
        return None

    # --- the conversation ------------------------------------------------------------------------------

    async def _converse(self, assignment: Assignment, resumption: Resumption | None) -> None:
        conversation = Conversation(
            self._room,
            assignment,
            self._factory,
            on_turn=self._on_turn,
            on_end=lambda reason: self._finish(LastWord(reason)),
            history=resumption.history if resumption is not None else (),
            resumed=resumption is not None and resumption.active,
            on_measured=self._link.send,
        )
        # The answer to the claim is on its way through host, Redis and API: it goes first on a busy machine.
        await asyncio.sleep(HEAD_START_S)
        await conversation.start()
        self._conversation = conversation
        if self._came_early is not None and not self._users():  # and went away again: who leaves is waited for
            self._phase = "active"
            self._link.send(self._came_early)
        # A successor may find that the user has left meanwhile: it waits for them as its predecessor would have.
        if self._users() or self._phase == "active":
            self._look_for_users()

    def _on_turn(self, turn: Turn) -> None:
        self._last_activity = time.time()
        self._link.send(turn)

    # --- the end ---------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        while True:
            if not self._end.done():  # from then on the alarm is for leaving
                # A frozen machine's agents may have been replaced. The kernel ends this one before it runs again, for
                # its room connection would open again by itself, and LiveKit would take the successor's from that.
                signal.setitimer(signal.ITIMER_REAL, self._fork.limits.frozen_s)
            await asyncio.sleep(WATCH_S)
            word = self._overdue(time.time())
            if word is not None:
                self._finish(word)

    def _overdue(self, now: float) -> LastWord | None:
        limits = self._fork.limits
        if self._link.alone_for_s() > limits.orphan_s:
            return LastWord("its host is gone", ok=False)
        if self._assignment is None:
            return None
        if now - self._assigned_at > limits.max_call_s:
            return LastWord("the longest allowed call is over")
        if self._user_left_at is not None and now - self._user_left_at > limits.reconnect_grace_s:
            return LastWord("the user left")
        if now - self._last_activity > limits.max_idle_s:
            return LastWord("inactive")
        return None

    def _finish(self, word: LastWord) -> None:
        """End for this reason; the first one counts."""
        if not self._end.done():
            self._end.set_result(word)

    async def _leave(self, word: LastWord) -> None:
        signal.alarm(LEAVE_AT_MOST_S)
        log.info("leaving", extra={"reason": word.reason, "ok": word.ok})
        if self._conversation is not None:
            self._conversation.measure()
        self._link.send(Leaving(reason=word.reason, ok=word.ok))
        with suppress(Exception):
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._link.flush()
                if self._conversation is not None:
                    await self._conversation.aclose()
                await self._room.disconnect()
                await traces.end()
        for task in self._tasks:
            task.cancel()

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Run beside the rest; what it raises ends the agent with that reason."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        log.error("agent failed", exc_info=error)
        text = str(error) or "no detail"
        self._finish(LastWord(f"{type(error).__name__}: {text}"[:500], ok=False))
