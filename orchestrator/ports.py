"""What the services need from the outside. Adapters implement it; errors arrive as ``domain.errors``."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

from contract.keys import DEFAULT_KIND
from contract.messages import Checked, Spawn, Spawned, Turn
from contract.states import SessionState
from orchestrator.domain.breaker import Breaker
from orchestrator.domain.pool import Aging, PoolSnapshot
from orchestrator.domain.rollout import RolloutView
from orchestrator.records import (
    NO_MORE,
    AgentIdentity,
    AgentRecord,
    Answered,
    BreakerView,
    Claimed,
    Counts,
    Death,
    Finished,
    Heard,
    HostLoss,
    HostReply,
    HostReport,
    HostView,
    Limits,
    NoneReady,
    Page,
    Queued,
    QueuedUser,
    RecordOutcome,
    ReplaceRule,
    RolloutRecord,
    RolloutState,
    Sample,
    Search,
    Session,
    SpawnStats,
    StartRequest,
)


class SessionStore(Protocol):
    """The only truth. Every change of a session is atomic and moves along ``domain.session.TRANSITIONS``.

    Every method raises ``StoreUnavailableError`` when the store does not answer in time. A method that is not told the
    kind of a session's agent finds it in the session; ``more`` are the kinds beside the default one, with what their
    pools' sizes are where nobody set them.
    """

    async def claim(self, request: StartRequest, reply_id: str) -> Claimed | Queued | Answered | NoneReady:
        """Take a waiting agent of the kind asked for and tell its host, at most one for a request key.

        A request that did not come before counts against its rates, once however often it is sent.

        Raises:
            IdempotencyConflictError: the key was used with another body.
            RateLimitedError: a rate is used up, or this user has as many sessions as one may have.
        """

    async def evict(self, session_id: str, fence: int, request_key: str, reason: str, reply_id: str) -> bool:
        """Fail a claimed session whose agent did not acknowledge, so that the request may claim again.

        Returns false when the session has moved on since that claim.

        Raises:
            StartUnderWayError: the request came again and waits for the same agent: there it is evicted, or handed out.
        """

    async def release_claim(self, request_key: str, session_id: str) -> None:
        """Forget which session this request claimed: its agent turned out to be somebody else's."""

    async def keep_answer(self, request_key: str, answer: str, keep_s: float) -> str:
        """Keep the answer under the request's key, unless there is one; return the one that stands."""

    async def reserve_cold(
        self, request: StartRequest, session_id: str, task_id: str, limits: Limits
    ) -> Queued | Answered:
        """Make a ``starting`` session for a caller.

        Raises:
            AgentsUnavailableError: spawns keep failing, and none is begun.
            AtCapacityError: the queue is full.
            IdempotencyConflictError: the key was used with another body.
            RateLimitedError: this user has as many sessions as one may have.
            StartUnderWayError: the request came again and was given an agent there, which has not acknowledged yet.
        """

    async def reserve_warm(self, session_id: str, target: int, limits: Limits, kind: str = DEFAULT_KIND) -> bool:
        """Make a ``starting`` session for the pool of this kind, if it still lacks one."""

    async def dispatch(self, session_id: str, limits: Limits, kind: str = DEFAULT_KIND) -> bool:
        """Take a waiting session out of the queue for its spawn, if there is capacity and a spawn is free."""

    async def respawn(self, session_id: str, deadline_s: float) -> bool:
        """Give an overdue spawn a new deadline, and note that it failed on the host that began it.

        False when another refill did, or it is not overdue any more.
        """

    async def begin_spawn(self, session_id: str, deadline_s: float, host: str = "", *, task: str = "") -> int:
        """Count one try on this host; 0 when the session no longer needs an agent, waits for capacity, or another task
        is at it.

        Raises:
            HostDrainingError: the host drains, or does not serve this kind; nothing was counted. Where all drain, a
                call goes on there.
            HostFullError: it has as many agents as it can have; nothing was counted. A call goes on there.
            PassedOnError: another host is to start it, as this one was not heard of late, or as it is for the pool, and
                the other has fewer agents; nothing was counted. So often, and it is begun here after all.
            AgentsUnavailableError: spawns keep failing, and this one is not begun; a call's is.
        """

    async def hold_spawn(self, session_id: str, reason: str, *, failed: bool) -> bool:
        """Have a user's session wait in its place while spawns keep failing, and end (or fail) one for the pool.

        Returns false when it is a call's, whose tries go on, or nobody needs it any more.
        """

    async def give_back(self, session_id: str, deadline_s: float, *, counted: bool, full_host: str = "") -> bool:
        """Take a spawn back that this host is not to do, and the try if one was counted.

        ``full_host`` said by itself that it is full, which counts until its next heartbeat. Returns whether the spawn
        is to be queued again, for another host. Where none takes it, a user's session waits in its place for one, and
        one for the pool is ended.
        """

    async def record_agent(self, record: AgentRecord) -> RecordOutcome:
        """Bring the store in line with a living agent: newly ready, changed, or seen again after an outage."""

    async def mark_active(self, session_id: str) -> bool:
        """The user is in the room; false when the session is not assigned."""

    async def touch(self, session_id: str, *, user_left: bool | None = None) -> None:
        """Something happened in a session; note when the user left or came back. Nothing, unless it is active."""

    async def finish(
        self, session_id: str, state: SessionState, reason: str, *, code: str | None = None,
        only_from: Sequence[SessionState] = (), agent: AgentIdentity | None = None, without_agent: bool = False,
        waiting: bool = False,
    ) -> Finished:  # fmt: skip
        """End or fail a session, from whatever live state it is in (or only from these).

        With ``agent`` only while this is its agent, with ``without_agent`` only while it has none, with ``waiting``
        only while it waits for capacity.
        """

    async def replace(self, session_id: str, agent: AgentIdentity, reason: str, code: str, rule: ReplaceRule) -> Death:
        """This agent died, or does not answer: take its session from it, for another one, or fail it. Idempotent."""

    async def lose_host(self, host: str, heard: str, rule: ReplaceRule) -> HostLoss:
        """Fail a host's warm agents and replace those in a call, unless it was heard after ``heard``. Idempotent."""

    async def retire(self, count: int, reason: str, *, leaving: int = 0, kind: str = DEFAULT_KIND) -> list[str]:
        """Take so many agents out of a pool, as long as more than ``leaving`` are in it, and end them; their ids."""

    async def retire_warm(self, host: str) -> list[str]:
        """End the agents that wait on this host, if it drains; returns their ids."""

    async def owned_by(self, host: str) -> set[str]:
        """Live sessions that the store believes this host to run."""

    async def get(self, session_id: str) -> Session | None:
        """One session."""

    async def seen(self, session_id: str) -> None:
        """The caller of a waiting session asked about it."""

    async def token_made(self, session_id: str) -> None:
        """The caller took a token: the assignment's lease starts anew."""

    async def page(self, states: Sequence[SessionState], limit: int, cursor: str | None) -> Page:
        """Sessions in these states, state by state, newest first.

        Raises:
            InvalidRequestError: the cursor is none of ours.
        """

    async def counts(self, default_target: int, more: Mapping[str, int] = NO_MORE) -> Counts:
        """All counts, read atomically."""

    async def snapshot(self, more: Collection[str] = ()) -> PoolSnapshot:
        """What ``plan`` needs, read atomically."""

    async def aging(self, assign_lease_s: float, inactive_s: float, warm_max_age_s: float) -> Aging:
        """What ``reap`` needs."""

    async def forget(self, older_than_s: float) -> int:
        """Drop ended sessions of that age from the lists; their records expire by themselves."""

    async def set_target(self, size: int, default: int, kind: str = DEFAULT_KIND) -> int:
        """Set a pool's floor; returns the previous one."""

    async def note_demand(self, expected: float, keep_s: float, target: int, kind: str = DEFAULT_KIND) -> None:
        """Note for ``keep_s`` seconds that so many agents were on their way, and the target that follows."""

    async def refill_due(self) -> bool:
        """Whether the caller should queue a refill: false while one is on its way."""

    async def refill_begun(self) -> None:
        """A refill begins now; later claims trigger another one."""

    async def spawn_stats(self) -> SpawnStats:
        """Measured spawns."""

    async def call_lengths_s(self) -> list[float]:
        """How long the calls took that ended last, from the claim, the newest first."""

    async def count_spawn_failure(self, code: str) -> None:
        """One more spawn that failed for this reason."""

    async def keep_timeline(self, session_id: str, marks: Mapping[str, float]) -> bool:
        """Keep what a user's page measured, in milliseconds after the click; false when it had been told before.

        Raises:
            SessionNotFoundError: nobody has such a session.
        """

    async def add_turn(self, session_id: str, turn: Turn) -> None:
        """Keep a finished turn."""

    async def turns(self, session_id: str) -> list[Turn]:
        """The finished turns, oldest first."""

    async def locked(self, name: str, ttl_s: float, token: str) -> bool:
        """Take a maintenance lock; false when somebody has it."""

    async def unlock(self, name: str, token: str) -> None:
        """Give the lock back, if it is still ours."""

    async def now(self) -> float:
        """The store's clock."""

    async def ping(self) -> None:
        """Raises ``StoreUnavailableError`` when the store is away."""


class Breakers(Protocol):
    """Whether spawns are tried, by kind of agent. Every method raises ``StoreUnavailableError``."""

    async def look(self, kind: str) -> BreakerView:
        """What it is now."""

    async def change(self, kind: str, version: int, after: Breaker) -> bool:
        """Have it be ``after``; false when it is not of this version any more."""


class Webhooks(Protocol):
    """Which of LiveKit's events were acted on. Every method raises ``StoreUnavailableError``."""

    async def is_new(self, event_id: str) -> bool:
        """Whether it was not, for as long as its signature is good."""

    async def acted_on(self, event_id: str) -> None:
        """It was."""


class Lookup(Protocol):
    """What an operator looks for. Every method raises ``StoreUnavailableError`` when the store does not answer."""

    async def find(self, states: Sequence[SessionState], search: Search, limit: int, cursor: str | None) -> Page:
        """``SessionStore.page``, of those looked for; only so many sessions are looked at for one page.

        So a page may be short, or empty, and not be the last.

        Raises:
            InvalidRequestError: the cursor is none of ours.
        """

    async def queue(self, most: int) -> list[QueuedUser]:
        """Users who wait for an agent, the first first."""


class Statistics(Protocol):
    """What was measured, for an operator's charts. Every method raises ``StoreUnavailableError``."""

    async def note_starts(self, warm: int, cold: int, took_ms: Sequence[float]) -> None:
        """Starts that were answered: how many, and how long each took."""

    async def sample(self, default_target: int, more: Mapping[str, int] = NO_MORE) -> bool:
        """Take a sample of the whole system; false when this moment has one, whoever took it."""

    async def samples(self, newest: int) -> list[Sample]:
        """The newest samples, oldest first."""


class Listener(Protocol):
    """Hears of changes, and may miss some: who listens looks by itself from time to time, too."""

    async def wait(self, timeout_s: float) -> None:
        """Return at a change since the last call, or after ``timeout_s``."""

    def heard(self) -> tuple[list[str], bool]:
        """The sessions that changed since the last call, and whether there were more than are told."""


class Changes(Protocol):
    """Where one hears that sessions changed. It raises nothing: while the store is away there is silence."""

    def listen(self, session_id: str | None = None) -> AbstractContextManager[Listener]:
        """Hear of one session, or of all."""


class HostRegistry(Protocol):
    """The hosts, as the store knows them."""

    async def heartbeat(self, report: HostReport, lease_s: float, *, drains: bool = False) -> Heard:
        """Renew a host's lease. A warm agent is handed out only while its host's lease is fresh.

        ``drains``: an operator drains it, as far as it knows; a store that knows nothing of the host believes it.

        Raises:
            HostIdTakenError: it is another daemon's, whose lease is fresh; nothing was changed.
        """

    async def suspect(self, host: str, heard: str) -> None:
        """Note that a host is silent, unless it was heard after ``heard``."""

    async def drain(self, host: str, *, by_stop: bool = False) -> None:
        """Take a host out of claims and spawns, until ``undrain``, also while it is away; it looks at once.

        Drained for a stop (``by_stop``), its next daemon takes it back by itself.

        Raises:
            HostNotFoundError: there is none with this id.
        """

    async def undrain(self, host: str) -> None:
        """Put it back.

        Raises:
            HostNotFoundError: there is none with this id.
        """

    async def sign_off(self, host: str, instance: str = "") -> None:
        """End a host's lease at once, unless another daemon is this host by now."""

    async def forget_gone(self) -> list[str]:
        """Forget the hosts that were not heard for long, and have no agents; their ids.

        One that the store believes to have agents is suspected: if it stays silent, it is lost.
        """

    async def hosts(self) -> list[HostView]:
        """All hosts known."""


class Hosts(Protocol):
    """An API's way to a host: through the store, never by an address."""

    async def acknowledged(self, reply_id: str, timeout_s: float) -> HostReply | None:
        """The reply to a claim; None when none came in time."""

    async def is_heard(self, host: str, within_s: float) -> bool:
        """Whether it holds its lease, and its last heartbeat is no older than this."""

    async def logs(self, host: str, session_id: str, limit: int) -> list[Mapping[str, object]]:
        """The newest lines of one agent, oldest first.

        Raises:
            HostUnavailableError: it did not answer.
        """

    async def load_anew(self, host: str, rollout_id: str) -> None:
        """Tell a host to load the agent's code and settings anew; its heartbeats say what came of it."""


class Rollouts(Protocol):
    """The rollout that is under way. Every method raises ``StoreUnavailableError`` when the store does not answer."""

    async def begin(self, rollout_id: str) -> str:
        """Begin one with this id, unless one is under way; returns the id of the one that is."""

    async def look(self, default_target: int, more: Mapping[str, int] = NO_MORE) -> tuple[str, RolloutView] | None:
        """Its id and how it stands; None when none is under way."""

    async def recycle(self, rollout_id: str, count: int, leaving: int, kind: str = DEFAULT_KIND) -> list[str]:
        """End older agents of a kind that wait, as long as more than ``leaving`` are in its pool; returns their ids."""

    async def note(self, rollout_id: str, state: RolloutState, detail: str) -> bool:
        """Say what it waits for (``running``), or end it (``done``, ``failed``); false when it is not under way."""

    async def current(self) -> RolloutRecord | None:
        """The one under way, or the last one of a day."""


class LocalHost(Protocol):
    """A worker's way to the host daemon on its own machine.

    Every method raises ``HostUnavailableError`` when the daemon does not answer.
    """

    async def spawn(self, request: Spawn) -> Spawned:
        """Have an agent in its room."""

    async def check(self) -> Checked:
        """Ping every agent."""


class Rooms(Protocol):
    """LiveKit's rooms.

    Every method raises ``RoomsUnavailableError`` when LiveKit does not do it: ``RoomsUnreachableError`` where nothing
    answered at all.
    """

    async def create(self, room: str) -> None:
        """Make a room that stays open while only an agent is in it."""

    async def delete(self, room: str) -> None:
        """Close a room; no error when there is none."""

    async def sid(self, room: str) -> str | None:
        """LiveKit's own id of the room that has this name now, which no room before had; None when there is none."""

    async def ping(self) -> None:
        """Whether LiveKit answers and takes our key."""


class TaskQueue(Protocol):
    """Where work for the workers is put. Raises ``QueueUnavailableError``."""

    async def spawn(self, session_id: str, *, urgent: bool, kind: str = DEFAULT_KIND) -> None:
        """Queue one spawn for the workers that serve this kind; urgent ones go before all others."""

    async def refill(self, *, delay_s: float = 0.0) -> None:
        """Queue one refill, for now or for a little later."""

    async def check_host(self, host: str) -> None:
        """Queue a health check on that host's own queue."""
