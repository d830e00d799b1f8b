"""One agent as its host sees it: its process, its line, and who waits for it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from contract.keys import DEFAULT_KIND
from contract.messages import AgentPhase, AnyMessage, Assign, Assigned, Assignment, Hello, Ping, Pong, Resumption
from contract.states import SessionState
from orchestrator.host.agent_files import LastWord
from orchestrator.host.pace import Pace
from orchestrator.host.processes import ProcessId
from orchestrator.records import AgentIdentity, AgentRecord

_STATE_OF: dict[AgentPhase, SessionState] = {
    "ready": SessionState.READY,
    "assigned": SessionState.ASSIGNED,
    "active": SessionState.ACTIVE,
}

CLAIMED = ("assigned", "active")


class AgentGoneError(Exception):
    """The agent died, or has no line to its host; the message says which."""


@dataclass
class Agent:
    """A living agent process."""

    session_id: str
    process: ProcessId
    pidfd: int | None
    """None once it is dead: the number may be another agent's by then."""
    created_at: float
    phase: AgentPhase = "joining"
    startup_s: float | None = None
    assignment: Assignment | None = None
    """What it took. Whose it is, it is not asked: once its host knows, what it says of that is not listened to."""
    writer: asyncio.StreamWriter | None = None
    private_bytes: int = 0
    """By its own account, when it was last asked."""
    ending: str | None = None
    """Why the host is ending it."""
    word: LastWord | None = None
    """Its last word, where it said on its line that it ends. Whether it does has to be seen."""
    taken_up: bool = False
    """Whether an earlier daemon started it."""
    hearsay: bool = False
    """Whether an earlier daemon may have handed it over: then its own word is all that this one has of that."""
    group_nice: int | None = None
    """The niceness of its scheduling group, where it was set."""
    in_call: bool = False
    """Whether it was started for a call whose agent died."""
    generation: str = ""
    """Which zygote forked it; empty when that is not known, as of one that said hello before its fork was told."""
    kind: str = DEFAULT_KIND
    ready: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    """Done when the agent is in its room; an ``AgentGoneError`` when it died before."""
    pace: Pace = field(default_factory=Pace)
    dials: Pace = field(default_factory=Pace)
    """How fast it opens lines, with all that it started."""
    family: frozenset[ProcessId] = frozenset()
    """Itself and all that it started, when they were last looked at."""
    dead: asyncio.Event = field(default_factory=asyncio.Event)
    _line: asyncio.Event = field(default_factory=asyncio.Event)
    _acks: dict[int, list[asyncio.Future[Assigned]]] = field(default_factory=dict)
    _pongs: dict[int, asyncio.Future[Pong]] = field(default_factory=dict)
    _offered: dict[int, Assignment] = field(default_factory=dict)
    """What it was sent and did not answer yet, by fence."""
    _ping_seq: int = 0

    @property
    def is_going(self) -> bool:
        """Whether it ends, by its host's will or its own word: nothing more is to be asked of it."""
        return self.ending is not None or self.word is not None

    def record(self, host: str, boot_id: str) -> AgentRecord | None:
        """What the store should know of it; None while it is joining."""
        state = _STATE_OF.get(self.phase)
        if state is None:
            return None
        return AgentRecord(
            session_id=self.session_id,
            identity=AgentIdentity(host, boot_id, self.process.pid, self.process.start_ticks),
            state=state,
            created_at=self.created_at,
            startup_s=self.startup_s,
            assignment=self.assignment,
            hearsay=self.hearsay,
            in_call=self.in_call,
            generation=self.generation,
            kind=self.kind,
        )

    def attach(self, hello: Hello, writer: asyncio.StreamWriter) -> None:
        """Its line is open (again): take over what it says of itself."""
        self.writer = writer
        self._line.set()
        self.startup_s = hello.startup_s
        self._believe(hello)
        if self.phase != "joining":
            self.is_ready(hello.startup_s or 0.0)

    def _believe(self, hello: Hello) -> None:
        """How far it is, for as long as that fits to what its host knows of it."""
        said = hello.assignment
        if said is None:
            self.hearsay = self.hearsay and self.assignment is not None
        elif self.hearsay:
            self.assignment = self.assignment or said
        else:
            self._took(said.fence)  # the line broke before its answer came
        if self.assignment is None:
            self.phase = "joining" if hello.phase == "joining" else "ready"
        elif self.hearsay or hello.phase in CLAIMED:
            self.phase = hello.phase
        elif self.phase not in CLAIMED:
            self.phase = "assigned"

    def detach(self, writer: asyncio.StreamWriter) -> None:
        """This line of it is closed; it may have a newer one by now."""
        if self.writer is writer:
            self.writer = None
            self._line.clear()

    def is_ready(self, startup_s: float) -> None:
        """The room accepted it."""
        self.startup_s = startup_s
        if self.phase == "joining":
            self.phase = "ready"
        if not self.ready.done():
            self.ready.set_result(None)

    def send(self, message: AnyMessage) -> bool:
        """Send, if there is a line; returns whether there was."""
        if self.writer is None or self.writer.is_closing():
            return False
        self.writer.write(message.to_line())
        return True

    async def assign(self, assignment: Assignment, timeout_s: float, resumption: Resumption | None = None) -> Assigned:
        """Hand it over to a user. After a restart of the host, its line may be a moment away.

        ``resumption`` is set for the successor of an agent that died.

        Raises:
            AgentGoneError: it has no line, died, or did not answer in time.
        """
        future: asyncio.Future[Assigned] = asyncio.get_running_loop().create_future()
        self._acks.setdefault(assignment.fence, []).append(future)
        try:
            async with asyncio.timeout(timeout_s):
                await self._line_or(future)
                if future.done():  # given up meanwhile, or dead: what comes now is not to be asked any more
                    return future.result()
                self._offered[assignment.fence] = assignment
                if not self.send(Assign.fitting(assignment, resumption)):
                    raise AgentGoneError("the agent has no line to its host")
                return await future
        except TimeoutError:
            raise AgentGoneError(self._why_silent()) from None
        finally:
            self._forget_ack(assignment.fence, future)

    async def _line_or(self, future: asyncio.Future[Assigned]) -> None:
        """Wait until its line is open, or this is done."""
        if not self._line.is_set():
            opened = asyncio.create_task(self._line.wait())
            try:
                await asyncio.wait((opened, future), return_when=asyncio.FIRST_COMPLETED)
            finally:
                opened.cancel()

    def _why_silent(self) -> str:
        return "the agent did not acknowledge" if self._line.is_set() else "the agent has no line to its host"

    @property
    def has_line(self) -> bool:
        """Whether its line to this host is open."""
        return self.writer is not None

    def is_asked(self, fence: int) -> bool:
        """Whether somebody waits for its answer to this assignment."""
        return fence in self._acks

    def give_up_on(self, fence: int) -> None:
        """It does not answer to this assignment: nobody waits for that any more."""
        for future in self._acks.pop(fence, []):
            if not future.done():
                future.set_exception(AgentGoneError(self._why_silent()))

    def _forget_ack(self, fence: int, future: asyncio.Future[Assigned]) -> None:
        waiting = self._acks.get(fence, [])
        if future in waiting:
            waiting.remove(future)
        if not waiting:
            self._acks.pop(fence, None)

    def acknowledged(self, message: Assigned) -> None:
        """Its answer to an assignment came."""
        if message.accepted:
            self._took(message.fence)
        self._offered.pop(message.fence, None)
        for future in self._acks.pop(message.fence, []):
            if not future.done():
                future.set_result(message)

    def _took(self, fence: int) -> None:
        offered = self._offered.pop(fence, None)
        if self.assignment is None and offered is not None:
            self.assignment, self.hearsay = offered, False
            self.phase = "assigned"

    async def ping(self, timeout_s: float) -> bool:
        """Whether it answers and is in its room."""
        self._ping_seq = seq = self._ping_seq + 1
        future: asyncio.Future[Pong] = asyncio.get_running_loop().create_future()
        self._pongs[seq] = future
        try:
            async with asyncio.timeout(timeout_s):
                await self._line.wait()
                return self.send(Ping(seq=seq)) and (await future).in_room
        except TimeoutError:
            return False
        finally:
            del self._pongs[seq]

    def ponged(self, message: Pong) -> None:
        """Its answer to a ping came."""
        self.private_bytes = message.private_bytes
        future = self._pongs.get(message.seq)
        if future is not None and not future.done():
            future.set_result(message)

    def died(self, why: str) -> None:
        """It is dead: nobody waits for it any more."""
        self.dead.set()
        self.writer = None
        self._line.set()  # who waits for it is to find none
        waiting: list[asyncio.Future[Any]] = [self.ready, *(f for futures in self._acks.values() for f in futures)]
        for future in waiting:
            if not future.done():
                future.set_exception(AgentGoneError(why))
                future.exception()  # looked at: nobody may be waiting
