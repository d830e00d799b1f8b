"""The agents of this machine: spawned, taken up again, watched, assigned, ended, reported."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import structlog

from contract import tracing
from contract.keys import DEFAULT_KIND
from contract.messages import (
    Admit,
    AgentLimits,
    Assigned,
    Assignment,
    End,
    Fork,
    Hello,
    Leaving,
    Measured,
    Resumption,
    Spawn,
    Spawned,
    Turn,
)
from contract.states import SessionState
from orchestrator.domain.capacity import Capacity
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.domain.niceness import group_niceness
from orchestrator.host.agent import Agent, AgentGoneError
from orchestrator.host.agent_files import AgentFiles, LastWord
from orchestrator.host.deaths import DIED, HOST_LOST, UNRESPONSIVE, Background, Deaths, cause_of_death
from orchestrator.host.late import LATE_ACK_S, answers, judge_soon
from orchestrator.host.outbox import Outbox
from orchestrator.host.processes import ProcessId, be_nice, is_stopped, kill_family, open_pidfd, send
from orchestrator.host.zygote import ZygoteUnavailableError
from orchestrator.host.zygotes import Zygotes
from orchestrator.ports import SessionStore
from orchestrator.records import AgentIdentity, RecordOutcome

log = structlog.get_logger("greenroom.host")

EXIT_STATUS_WAIT_S = 0.8
"""The pidfd tells of a death before the zygote tells its status, on a busy machine long before."""
HELLO_TIMEOUT_S = 15.0
"""A process that an earlier daemon started and that does not open its line by then is hung."""
LEAVE_TIMEOUT_S = 10.0
"""Twice as long as an agent gives itself to leave (``agent.process``): one that says so and stays is ended."""
FORK_WAIT_S = 1.0
"""For forks under way when all agents are to end."""


class Counter(Protocol):
    """Counts what agents measured (``host.measures.CallCounter``)."""

    async def measured(self, session_id: str, agent: AgentIdentity, report: Measured) -> None:
        """An agent reported."""


@dataclass(frozen=True)
class AgentSettings:
    """What each agent is started with, and how it is ended."""

    host_id: str
    boot_id: str
    livekit_url: str
    host_socket: str
    limits: AgentLimits
    kill_grace_s: float
    agent_token: Callable[[str], str]
    """Makes the token with which the agent of a session joins its room."""


class Agents:
    """All of this machine's agents, by session id."""

    def __init__(
        self,
        settings: AgentSettings,
        store: SessionStore,
        zygotes: Zygotes,
        files: AgentFiles,
        outbox: Outbox,
        background: Background,
        capacity: Callable[[int], Capacity],
        counter: Counter,
        deaths: Deaths,
    ) -> None:
        self._settings = settings
        self._store = store
        self._zygotes = zygotes
        self._files = files
        self._outbox = outbox
        self._background = background
        self._capacity = capacity
        """How many agents there can be, with so many now."""
        self._counter = counter
        self._deaths = deaths
        self._agents: dict[str, Agent] = {}
        self._forking: dict[str, asyncio.Task[Agent]] = {}
        self._statuses: dict[int, int] = {}
        self.retiring = False
        self.draining = False
        self.refused_one = False
        """A spawn was sent back for lack of room: when there is some, somebody may wait for it."""

    def __len__(self) -> int:
        return len(self._agents)

    def all(self) -> list[Agent]:
        """Every living agent."""
        return list(self._agents.values())

    def get(self, session_id: str) -> Agent | None:
        """The agent of a session."""
        return self._agents.get(session_id)

    def pids(self) -> set[int]:
        """Their processes."""
        return {agent.process.pid for agent in self._agents.values()}

    def have_calls(self) -> bool:
        """Whether one of them is a user's, or is on its way into a user's call."""
        return any(agent.phase in ("assigned", "active") or agent.in_call for agent in self._agents.values())

    @property
    def count(self) -> int:
        """Those that are, and those on their way; not those that are being ended, whose place is free."""
        living = {agent.session_id for agent in self._agents.values() if agent.ending is None}
        return len(living | self._forking.keys())

    @property
    def are_gone(self) -> bool:
        """Whether there is none, nor one on its way."""
        return not self._agents and not self._forking

    # --- begin -----------------------------------------------------------------------------------------

    async def spawn(self, request: Spawn) -> Spawned:
        """Have an agent in its room for this session; the one that there is already, if there is one."""
        if refusal := self._refusal(request):
            return refusal
        deadline = asyncio.get_running_loop().time() + request.timeout_s
        try:
            with tracing.span("host.spawn", request.trace, session_id=request.session_id):
                agent = await self._agent_for(request)
                await self._in_room(agent, deadline, request.timeout_s)
                await self._recorded(agent)
        except ZygoteUnavailableError as error:
            return Spawned(ok=False, code=error.code, reason=str(error))
        except AgentGoneError as error:
            return Spawned(ok=False, code="agent_died", reason=str(error))
        return Spawned(ok=True, pid=agent.process.pid, startup_s=agent.startup_s)

    def _refusal(self, request: Spawn) -> Spawned | None:
        """Why none more is started here. A call that lost its agent goes on: that one's place is free."""
        if request.session_id in self._agents:
            return None
        if self.retiring:
            return Spawned(ok=False, code="host_retiring", reason="this host is stopping")
        if request.in_call or request.session_id in self._forking:
            return None
        if self.draining:
            return Spawned(ok=False, code="host_draining", reason="this host drains")
        room = self._capacity(self.count)
        if self.count >= room.agents:
            self.refused_one = True
            return Spawned(ok=False, code="host_full", reason=f"this host has {self.count} agents; {room.reason}")
        return None

    async def _agent_for(self, request: Spawn) -> Agent:
        """This session's agent, forked once however many ask at a time."""
        session_id = request.session_id
        while (agent := self._agents.get(session_id)) is not None:
            if not agent.is_going and await self.reconcile(agent):
                return agent
            # An earlier try's, which did not join; or one that was replaced while this host was taken for lost.
            await agent.dead.wait()
        task = self._forking.get(session_id)
        if task is None:
            task = self._forking[session_id] = asyncio.create_task(self._fork(request))
            task.add_done_callback(lambda _: self._forking.pop(session_id, None))
        return await asyncio.shield(task)

    async def _in_room(self, agent: Agent, deadline: float, timeout_s: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await asyncio.shield(agent.ready)
        except TimeoutError:
            # Not waited for: the worker is to hear the reason while it still listens.
            self._background(self.end(agent, "it did not join in time"))
            raise AgentGoneError(f"the agent was not in its room within {timeout_s:g} s") from None

    async def _recorded(self, agent: Agent) -> None:
        await self.reconcile(agent)
        if agent.dead.is_set():
            raise AgentGoneError("the agent died as soon as it was in its room")

    async def _fork(self, request: Spawn) -> Agent:
        settings = self._settings
        fork = Fork(
            session_id=request.session_id,
            requested_at=time.time(),
            livekit_url=settings.livekit_url,
            host_socket=settings.host_socket,
            log_path=str(self._files.log_path(request.session_id)),
            last_word_path=str(self._files.last_word_path(request.session_id)),
            limits=settings.limits,
            proof=self._files.proof(request.session_id),
            trace=tracing.carried(),
            kind=request.kind,
        )
        kind = request.kind or DEFAULT_KIND
        self._files.prepare(request.session_id)
        try:
            process, generation = await self._forked(fork, request.timeout_s)
        except ZygoteUnavailableError:
            self._files.forget(request.session_id)
            raise
        self._files.remember(request.session_id, process, time.time(), generation, kind)
        agent = self._agents.get(request.session_id) or self._watch(request.session_id, process, time.time())
        if agent is None:
            word, status = self._files.forget(request.session_id), self._statuses.get(process.pid)
            raise AgentGoneError(cause_of_death(word, status))
        agent.in_call, agent.generation, agent.kind = request.in_call, generation, kind
        return agent

    async def _forked(self, fork: Fork, timeout_s: float) -> tuple[ProcessId, str]:
        """The new process, and its zygote's generation."""
        with tracing.span("host.fork"):
            forked, generation = await self._zygotes.fork(fork, timeout_s)
        if forked.pid is None or forked.start_ticks is None:
            raise ZygoteUnavailableError(forked.error or "it did not fork")
        return ProcessId(forked.pid, forked.start_ticks), generation

    def take_up(self) -> int:
        """Find the agents that an earlier daemon started; those that died meanwhile are reported."""
        for identity in self._files.remembered():
            agent = self._watch(identity.session_id, identity.process, identity.created_at)
            if agent is None:
                self._deaths.lost(
                    identity.session_id, self._identity(identity.process), self._files.forget(identity.session_id)
                )
            else:
                agent.taken_up, agent.generation, agent.kind = True, identity.generation, identity.kind
                agent.hearsay = True
                asyncio.get_running_loop().call_later(HELLO_TIMEOUT_S, self._expect_hello, agent)
        return len(self._agents)

    def _expect_hello(self, agent: Agent) -> None:
        if agent.writer is None and not agent.dead.is_set():
            self.give_up(agent, "it did not come back to its host")

    def hello(self, hello: Hello, writer: asyncio.StreamWriter) -> Agent | None:
        """An agent opened its line. None when it is not who it says it is."""
        process = ProcessId(hello.pid, hello.start_ticks)
        agent = self._agents.get(hello.session_id)
        if agent is None and self._files.proves(hello.session_id, hello.proof):
            # Either the fork's answer is still on its way, or an earlier daemon's note of it was lost.
            agent = self._watch(hello.session_id, process, hello.created_at)
            if agent is not None:
                agent.kind = hello.kind or DEFAULT_KIND
                agent.hearsay = hello.session_id not in self._forking
                self._files.remember(hello.session_id, process, hello.created_at, kind=agent.kind)
        if agent is None or agent.process != process:
            return None
        agent.attach(hello, writer)
        if agent.phase == "joining":
            agent.send(Admit(token=self._settings.agent_token(agent.session_id)))
        self._be_nice(agent)
        if agent.phase != "joining":
            self._background(self.reconcile(agent))
        return agent

    def share_processors(self) -> None:
        """Have each agent be as nice as fits to how many there are by now."""
        for agent in self.all():
            self._be_nice(agent)

    def _be_nice(self, agent: Agent) -> None:
        nice = group_niceness(self._settings.limits.nice, len(self._agents))
        if agent.group_nice != nice and be_nice(agent.process.pid, nice):
            agent.group_nice = nice

    def _watch(self, session_id: str, process: ProcessId, created_at: float) -> Agent | None:
        pidfd = open_pidfd(process)
        if pidfd is None:
            return None
        agent = Agent(session_id, process, pidfd, created_at)
        self._agents[session_id] = agent
        asyncio.get_running_loop().add_reader(pidfd, self._on_death, agent)
        return agent

    # --- assign ----------------------------------------------------------------------------------------

    async def assign(self, assignment: Assignment, resumption: Resumption | None = None) -> Assigned:
        """Hand an agent over; not accepted when there is none, or it does not answer.

        One that lacks nothing but a processor to answer is waited for: ending it would make the machine busier still.
        """
        agent = self._agents.get(assignment.session_id)
        if agent is None or agent.is_going:
            return Assigned(fence=assignment.fence, accepted=False, reason="no such agent")
        try:
            judge_soon(agent, assignment.fence)
            with tracing.span("host.assign", assignment.trace, session_id=assignment.session_id):
                answer = await agent.assign(assignment, LATE_ACK_S, resumption)
        except AgentGoneError as error:
            return Assigned(fence=assignment.fence, accepted=False, reason=str(error))
        if answer.accepted and resumption is not None and resumption.active:
            agent.phase = "active"
        elif answer.reason == "taken":
            self._background(self.reconcile(agent))
        return answer

    async def reconcile(self, agent: Agent) -> bool:
        """Bring the store in line with this agent, and the agent in line with the store.

        Returns false when the session is not this agent's: it is over, or the agent was replaced. The agent is ended.
        """
        record = agent.record(self._settings.host_id, self._settings.boot_id)
        if record is None or agent.is_going or agent.dead.is_set():
            return True
        try:
            outcome = await self._store.record_agent(record)
            if outcome.assignment is not None:
                await self._deliver(agent, outcome.assignment, await self._resumption(outcome))
        except StoreUnavailableError:
            return True  # the next round does it
        if not outcome.accepted:
            self._background(self.end(agent, "its session is over, or another agent's"))
        return outcome.accepted

    async def _resumption(self, outcome: RecordOutcome) -> Resumption | None:
        """What a successor goes on from; None for the first agent of a session."""
        if not outcome.replaces or outcome.assignment is None:
            return None
        session_id = outcome.assignment.session_id
        session, turns = await asyncio.gather(self._store.get(session_id), self._store.turns(session_id))
        now = await self._store.now()
        assigned_at = (session and session.assigned_at) or now
        active = session is not None and session.state is SessionState.ACTIVE
        return Resumption(active=active, elapsed_s=max(0.0, now - assigned_at), history=tuple(turns))

    async def _deliver(self, agent: Agent, assignment: Assignment, resumption: Resumption | None) -> None:
        answer = await self.assign(assignment, resumption)
        if answer.accepted or answer.reason == "taken" or agent.dead.is_set() or agent.is_going:
            return
        self.give_up(agent, f"the agent did not take its session: {answer.reason}")

    # --- news ------------------------------------------------------------------------------------------

    def user_joined(self, agent: Agent) -> None:
        """A user is in the room."""
        if agent.assignment is None:
            return  # nobody's
        agent.phase = "active"
        self._outbox.put(agent.session_id, lambda: self.reconcile_active(agent))

    async def reconcile_active(self, agent: Agent) -> None:
        """Record that the session is active, and that its user is there."""
        record = agent.record(self._settings.host_id, self._settings.boot_id)
        if record is not None and not agent.is_going and (await self._store.record_agent(record)).accepted:
            await self._store.touch(agent.session_id, user_left=False)

    def user_left(self, agent: Agent) -> None:
        """No user is in the room."""
        self._outbox.put(agent.session_id, lambda: self._store.touch(agent.session_id, user_left=True))

    def turn(self, agent: Agent, turn: Turn) -> None:
        """A turn was finished: a successor can go on from it."""

        async def keep() -> None:
            await self._store.add_turn(agent.session_id, turn)
            await self._store.touch(agent.session_id)

        self._outbox.put(agent.session_id, keep)

    def measured(self, agent: Agent, report: Measured) -> None:
        """An agent measured something."""
        identity = self._identity(agent.process)
        self._outbox.put(agent.session_id, partial(self._counter.measured, agent.session_id, identity, report))

    def leaving(self, agent: Agent, message: Leaving) -> None:
        """It says that it ends. The first word counts, as if it had left it; that it goes has to be seen."""
        if agent.word is None:
            agent.word = LastWord.of(message.reason, message.ok)
            asyncio.get_running_loop().call_later(LEAVE_TIMEOUT_S, self._expect_gone, agent, agent.word)

    def dialled(self, pid: int) -> None:
        """The agent with this PID, or what it started, opened a line. One that does so without end is ended.

        It cannot be made to wait as one that says too much: workers would wait behind it in the kernel's queue.
        """
        for agent in self._agents.values():
            if agent.process.pid == pid and agent.dials.wait_s() and agent.ending is None:
                self.stop_soon(agent, "it opens lines to its host without end")

    # --- end -------------------------------------------------------------------------------------------

    async def check(self) -> list[str]:
        """Ping every agent that should answer; end those that do not. Returns their session ids."""
        agents = [agent for agent in self.all() if agent.phase != "joining" and not agent.is_going]
        answered = await asyncio.gather(*(answers(agent) for agent in agents))
        hung = [a for a, well in zip(agents, answered, strict=True) if not well and not a.is_going]
        for agent in hung:
            self.give_up(agent, "its agent did not answer a health check, or was not in its room")
        await asyncio.gather(*(agent.dead.wait() for agent in hung))
        return [agent.session_id for agent in hung]

    def give_up(self, agent: Agent, reason: str) -> None:
        """It lives and is of no use. Its successor need not wait for its end: LiveKit lets only one of them be in."""
        self._deaths.given_up(agent.session_id, self._identity(agent.process), reason, UNRESPONSIVE)
        self._background(self.end(agent, reason))

    def _expect_gone(self, agent: Agent, word: LastWord) -> None:
        if agent.ending is not None or agent.dead.is_set():
            return
        if word.ok:
            self.end_soon(agent, word.reason)
        else:
            self.give_up(agent, word.reason)

    def stop_soon(self, agent: Agent, reason: str) -> None:
        """End one at once that uses up what is not its own; a call goes on with another agent."""
        log.warning("agent is stopped", session_id=agent.session_id, pid=agent.process.pid, reason=reason)
        agent.ending = reason
        self._deaths.given_up(agent.session_id, self._identity(agent.process), reason, DIED)
        self._background(asyncio.to_thread(kill_family, agent.process, agent.family))

    async def end(self, agent: Agent, reason: str) -> None:
        """End it: asked, then SIGTERM, then SIGKILL to all of its session, at once where it is stopped.

        Returns when it is dead.
        """
        if agent.ending is None:
            agent.ending = reason
            log.info("ending agent", session_id=agent.session_id, pid=agent.process.pid, reason=reason)
            agent.send(End(reason=reason))
            send(agent.pidfd, signal.SIGTERM)
            if is_stopped(agent.process) or not await self._dies(agent):
                send(agent.pidfd, signal.SIGKILL)
        await agent.dead.wait()

    async def _dies(self, agent: Agent) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.kill_grace_s):
                await agent.dead.wait()
                return True
        return False

    def end_soon(self, agent: Agent, reason: str) -> None:
        """End it, without waiting until it is dead."""
        self._background(self.end(agent, reason))

    async def end_all(self, reason: str) -> None:
        """End every agent, also those that are being forked now."""
        if self._forking:
            await asyncio.wait(list(self._forking.values()), timeout=FORK_WAIT_S)
        await asyncio.gather(*(self.end(agent, reason) for agent in self.all()))

    def kill_all(self, reason: str) -> None:
        """SIGKILL every agent. The store is told once it is there: others may go on with what was theirs by then."""
        for agent in self.all():
            if agent.ending is None and agent.phase != "joining":
                self._deaths.given_up(agent.session_id, self._identity(agent.process), reason, HOST_LOST)
                agent.ending = reason
            send(agent.pidfd, signal.SIGKILL)

    def exit_status(self, pid: int, status: int) -> None:
        """A process was reaped, here or by the zygote; ``status`` is negative for a signal."""
        if any(agent.process.pid == pid for agent in self._agents.values()):
            self._statuses[pid] = status

    def _on_death(self, agent: Agent) -> None:
        loop = asyncio.get_running_loop()
        pidfd, agent.pidfd = agent.pidfd, None
        if pidfd is None:
            return
        loop.remove_reader(pidfd)
        os.close(pidfd)
        self._background(self._bury(agent))

    async def _bury(self, agent: Agent) -> None:
        # Looking through all processes takes milliseconds, in which an assignment would have to wait.
        await asyncio.to_thread(kill_family, agent.process, agent.family)
        word = self._files.forget(agent.session_id) or agent.word
        if word is None and not agent.taken_up:  # an earlier daemon's zygote tells us nothing
            await self._await_status(agent.process.pid)
        status = self._statuses.pop(agent.process.pid, None)
        if self._agents.get(agent.session_id) is agent:
            del self._agents[agent.session_id]
        agent.died(cause_of_death(word, status))
        # One that died while joining is its spawn task's to report: that has tries left.
        if agent.phase != "joining":
            self._deaths.gone(agent.session_id, self._identity(agent.process), word, status, agent.ending)
        elif agent.taken_up:
            self._deaths.lost(agent.session_id, self._identity(agent.process), word)

    async def _await_status(self, pid: int) -> None:
        deadline = time.monotonic() + EXIT_STATUS_WAIT_S
        while pid not in self._statuses and time.monotonic() < deadline:  # noqa: ASYNC110 - two sources, rarely
            await asyncio.sleep(0.01)

    def _identity(self, process: ProcessId) -> AgentIdentity:
        return AgentIdentity(self._settings.host_id, self._settings.boot_id, process.pid, process.start_ticks)
