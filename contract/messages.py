"""Every message on the host's Unix socket and on the zygote's: one JSON object on one line.

Each docstring opens with ``sender -> receiver``. ``v`` is the protocol's version: a receiver that does not
know it refuses the message, so that a rolled-out host never half-understands an older agent.
Times are Unix seconds; a name that ends in ``_s`` is a duration in seconds.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from contract.keys import KIND_PATTERN
from contract.measures import Count, Provider, Timing, Used
from contract.tracing import Traceparent

MAX_MESSAGE_BYTES = 128 * 1024
"""One line at most. A start request's body ends at 16 KiB; JSON escapes grow it sixfold at the worst."""

MOST_WORDS_CHARS = 300
"""Of why a message was refused: it may quote the message."""

SESSION_ID_PATTERN = r"^(prewarm|session)_[0-9a-z_]{8,64}$"


def _encodable(text: object) -> object:
    return text.encode(errors="replace").decode() if isinstance(text, str) else text


Text = Annotated[str, BeforeValidator(_encodable)]
"""Words from elsewhere. Half of a surrogate pair, of which UTF-8 has none, becomes "?": a language model's answer may
have been cut there, and a file's name in an error need not be text."""
SessionId = Annotated[str, Field(pattern=SESSION_ID_PATTERN)]
Pid = Annotated[int, Field(gt=0, le=4_194_304)]
"""Linux gives no greater one."""
Ticks = Annotated[int, Field(ge=0, lt=2**63)]
"""Field 22 of ``/proc/<pid>/stat``: with the PID and the boot id it names one process for ever."""
Fence = Annotated[int, Field(ge=0, lt=2**53)]
"""Lua's numbers are exact up to there; a greater one would be the store's greatest for ever."""
Seconds = Annotated[float, Field(ge=-1e11, le=1e11)]
"""A time or a duration. What is beyond is none, and would make the store's sums infinite."""
AgentPhase = Literal["joining", "ready", "assigned", "active"]
Kind = Annotated[str, Field(pattern=KIND_PATTERN)]
"""A kind of agent. It is left out for the default one, so that a host understands who knows of no other."""


class ProtocolError(ValueError):
    """The peer sent something that is not a message of this protocol's version."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    v: Literal[1] = 1

    def to_line(self) -> bytes:
        """Encode as one JSON line."""
        return self.model_dump_json(exclude_none=True).encode() + b"\n"


class Assignment(BaseModel):
    """What binds at the claim: whose session it is and how its agent behaves."""

    # Not its errors either: they are logged, and a prompt is its caller's.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    session_id: SessionId
    fence: Fence
    """Grows with every claim; an agent obeys only the highest it has seen."""
    user_id: str
    user_name: str | None = None
    voice: str | None = None
    language: str | None = None
    system_prompt: str | None = None
    opening_line: str | None = None
    correlation_id: str | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)
    trace: Traceparent | None = None
    """Of the request that claimed it, where there are traces."""


class AgentLimits(BaseModel):
    """How long an agent may go on by itself, and what it may use up."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    orphan_s: float = 60.0
    """Without its host for so long, it ends itself."""
    reconnect_grace_s: float = 30.0
    """How long it waits for a user whose connection dropped."""
    max_call_s: float = 3600.0
    """The longest allowed call, counted from the claim."""
    max_idle_s: float = 1800.0
    """Assigned or active with nothing said for so long, it ends itself."""
    frozen_s: float = 8.0
    """One that stood still for so long dies the moment it would go on: its session may be another agent's by then."""
    memory_mb: int = 2048
    open_files: int = 1024
    nice: int = 5
    """Added to its niceness, from 0 to 19."""


# --- agent -> host -------------------------------------------------------------------------------------


class Hello(_Message):
    """agent -> host: first on each connection; all that a host needs to take the agent up (again)."""

    type: Literal["hello"] = "hello"
    session_id: SessionId
    pid: Pid
    start_ticks: Ticks
    phase: AgentPhase
    created_at: Seconds
    startup_s: Seconds | None = None
    assignment: Assignment | None = None
    proof: str = ""
    """``Fork.proof``: a process that its host does not know is believed with it, and for this session alone."""
    kind: Kind | None = None


class Ready(_Message):
    """agent -> host: the room accepted it."""

    type: Literal["ready"] = "ready"
    startup_s: Seconds
    """From the fork request to the room's acceptance."""


class Assigned(_Message):
    """agent -> host: the answer to ``Assign``; the hand-over is done only if it was accepted."""

    type: Literal["assigned"] = "assigned"
    fence: Fence
    accepted: bool
    reason: Text | None = None


class UserJoined(_Message):
    """agent -> host: a user is in the room."""

    type: Literal["user_joined"] = "user_joined"
    identity: Text
    at: Seconds


class UserLeft(_Message):
    """agent -> host: no user is in the room any more."""

    type: Literal["user_left"] = "user_left"
    at: Seconds


class Turn(_Message):
    """agent -> host: a finished turn of either side."""

    type: Literal["turn"] = "turn"
    role: Literal["user", "assistant"]
    text: Text = Field(max_length=16_384)
    at: Seconds
    interrupted: bool = False
    latency_s: Seconds | None = None
    """For an assistant's turn: from the end of the user's speech to the answer's first sound."""


class Measured(_Message):
    """agent -> host: what it measured since the report before. Sent again on each new line, with the same ``seq``."""

    type: Literal["measured"] = "measured"
    seq: int = Field(ge=1, lt=2**53)
    timings: tuple[Timing, ...] = Field(default=(), max_length=64)
    used: tuple[Used, ...] = Field(default=(), max_length=64)
    barge_ins: Count = 0
    """Answers that the user cut short by speaking."""
    transcription_errors: tuple[Provider, ...] = Field(default=(), max_length=64)
    """One for each, by whose it was."""


SIGNALLED = "it was told to end by a signal (SIGTERM), and not by its host"
"""The last word, with ``ok`` false, of an agent that a signal ended. Its host signals as well, and then knows a better
reason. But so do LiveKit's native library when it panics, who shuts the machine down, and agents of the same user."""


class Leaving(_Message):
    """agent -> host: its last word, also written to its last-word file. ``ok`` false means it failed."""

    type: Literal["leaving"] = "leaving"
    reason: Text
    ok: bool = True


class Pong(_Message):
    """agent -> host: the answer to ``Ping``; ``in_room`` false means that its room connection is gone."""

    type: Literal["pong"] = "pong"
    seq: int
    in_room: bool
    private_bytes: int = Field(default=0, ge=0, le=2**50)
    """Its private memory, by its own account: a hidden process's host may not look."""


# --- host -> agent -------------------------------------------------------------------------------------


class Resumption(BaseModel):
    """What the successor of an agent that died goes on from."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    active: bool
    """Whether the user has been in the room."""
    elapsed_s: Seconds = Field(ge=0)
    """Since the claim."""
    history: tuple[Turn, ...] = ()
    """The newest turns, oldest first: as many as fit into one message."""


class Admit(_Message):
    """host -> agent: the way into your room; the answer to a ``Hello`` of one that is joining.

    It does not come with the fork: what went through the zygote's memory is in that of every later agent.
    """

    type: Literal["admit"] = "admit"
    token: str


class Assign(_Message):
    """host -> agent: a user claimed you. Answered by ``Assigned``; sent twice with one fence, it is one."""

    type: Literal["assign"] = "assign"
    assignment: Assignment
    resumption: Resumption | None = None
    """Set when you are the successor of an agent that died."""

    @classmethod
    def fitting(cls, assignment: Assignment, resumption: Resumption | None) -> Assign:
        """The message, without the oldest turns where all of them make it too long."""
        if resumption is None:
            return cls(assignment=assignment)
        bare = resumption.model_copy(update={"history": ()})
        left_bytes = MAX_MESSAGE_BYTES - len(cls(assignment=assignment, resumption=bare).to_line())
        kept: list[Turn] = []
        for turn in reversed(resumption.history):
            left_bytes -= len(turn.to_line())  # its line's end counts for the comma
            if left_bytes < 0:
                break
            kept.append(turn)
        resumed = bare.model_copy(update={"history": tuple(reversed(kept))})
        return cls(assignment=assignment, resumption=resumed)


class End(_Message):
    """host -> agent: leave the room and exit."""

    type: Literal["end"] = "end"
    reason: Text


class Ping(_Message):
    """host -> agent: are you there, and still in your room?"""

    type: Literal["ping"] = "ping"
    seq: int


# --- worker or operator <-> host -----------------------------------------------------------------------


class Spawn(_Message):
    """worker -> host: have an agent for this session in its room. Idempotent by session id."""

    type: Literal["spawn"] = "spawn"
    session_id: SessionId
    requested_at: Seconds
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    in_call: bool = False
    """A user waits in the room: its agent died. A host that drains starts this one, too."""
    trace: Traceparent | None = None
    kind: Kind | None = None


class Spawned(_Message):
    """host -> worker: the outcome of ``Spawn``."""

    type: Literal["spawned"] = "spawned"
    ok: bool
    reason: Text | None = None
    code: str | None = None
    pid: Pid | None = None
    startup_s: Seconds | None = None


class Check(_Message):
    """worker -> host: ping every agent; end and report those that do not answer or lost their room."""

    type: Literal["check"] = "check"


class Checked(_Message):
    """host -> worker: the outcome of ``Check``."""

    type: Literal["checked"] = "checked"
    agents: int
    ended: list[str]


class Retire(_Message):
    """operator -> host: no more spawns, and end every agent when you are told to stop."""

    type: Literal["retire"] = "retire"


class Retired(_Message):
    """host -> operator: the answer to ``Retire``."""

    type: Literal["retired"] = "retired"
    agents: int


class Refused(_Message):
    """host -> anyone: that was no message I know; the connection is closed after it."""

    type: Literal["refused"] = "refused"
    reason: Text


# --- host <-> zygote -----------------------------------------------------------------------------------


class Fork(_Message):
    """host -> zygote: fork one agent."""

    type: Literal["fork"] = "fork"
    session_id: SessionId
    requested_at: Seconds
    livekit_url: str
    host_socket: str
    log_path: str
    last_word_path: str
    limits: AgentLimits
    proof: str = ""
    """Shows its host that it is this session's agent; made from a key that only the host has."""
    trace: Traceparent | None = None
    kind: Kind | None = None


class ZygoteReady(_Message):
    """zygote -> host: everything is imported and frozen, one thread; forks may come."""

    type: Literal["zygote_ready"] = "zygote_ready"
    pid: Pid
    preload_s: Seconds


class ZygoteFailed(_Message):
    """zygote -> host: the user's agent could not be loaded; the zygote exits after it."""

    type: Literal["zygote_failed"] = "zygote_failed"
    reason: Text


class Forked(_Message):
    """zygote -> host: the child's identity, or why there is none."""

    type: Literal["forked"] = "forked"
    session_id: SessionId
    pid: Pid | None = None
    start_ticks: Ticks | None = None
    error: Text | None = None


class Exited(_Message):
    """zygote -> host: a child was reaped. ``status`` is negative for a signal, as in ``subprocess``."""

    type: Literal["exited"] = "exited"
    pid: Pid
    status: int


AnyMessage = Annotated[
    Hello | Ready | Assigned | UserJoined | UserLeft | Turn | Measured | Leaving | Pong
    | Admit | Assign | End | Ping
    | Spawn | Spawned | Check | Checked | Retire | Retired | Refused
    | Fork | ZygoteReady | ZygoteFailed | Forked | Exited,
    Field(discriminator="type"),
]  # fmt: skip

_ADAPTER: TypeAdapter[AnyMessage] = TypeAdapter(AnyMessage)


def parse_line(line: bytes) -> AnyMessage:
    """Decode one line.

    Raises:
        ProtocolError: too long, not JSON, of another version, or not a message of this protocol.
    """
    if len(line) > MAX_MESSAGE_BYTES:
        raise ProtocolError(f"a message may have {MAX_MESSAGE_BYTES} bytes; this one has {len(line)}")
    try:
        return _ADAPTER.validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "message"
        raise ProtocolError(f"{where}: {first['msg']}"[:MOST_WORDS_CHARS]) from None
