"""Start a session: hand out a waiting agent, or have one started."""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.domain.errors import AtCapacityError
from orchestrator.domain.limits import Quota
from orchestrator.ports import Hosts, SessionStore, TaskQueue
from orchestrator.records import Answered, Claimed, HostReply, Limits, NoneReady, Queued, StartRequest
from orchestrator.services.waits import Waits

REQUEST_MEMORY_S = 60.0
"""How long a request without a key of its own is remembered: long enough for the driver to send it again."""
IDEMPOTENCY_S = 86_400.0
LATE_S, LAST_CLAIM_S, CLAIMS_S = 1.6, 1.8, 2.0
"""Of one start, from its beginning: until when it waits for what is late, makes another claim, and waits for an answer.
The API gives a start up that has no outcome soon after (``api.state.STORE_DEADLINE_S``)."""


@dataclass(frozen=True)
class Handed:
    """An agent that acknowledged: it is the caller's. ``assigned_at`` is in Unix seconds."""

    session_id: str
    assigned_at: float
    refill: bool
    """Whether the caller should have the pool refilled: one refill is due for a burst of claims."""
    dead: int
    """Agents that were tried before and did not acknowledge."""
    quotas: Sequence[Quota] = ()
    """What is left of the rates that the request counted against; empty where it came again."""


@dataclass(frozen=True)
class Starting:
    """An agent is being started for the caller."""

    session_id: str
    task_id: str
    position: int
    estimated_wait_s: float | None
    """None when nobody can say."""
    created_at: float
    refill: bool = False
    """As in ``Handed``: a claim that came to nothing took an agent out of the pool, too."""
    dead: int = 0
    fresh: bool = True
    """False when it is an earlier request's outcome."""
    quotas: Sequence[Quota] = ()
    """As in ``Handed``."""


class StartSession:
    """The use case behind ``POST /api/session/start``."""

    def __init__(
        self,
        store: SessionStore,
        hosts: Hosts,
        queue: TaskQueue,
        limits: Limits,
        *,
        ack_timeout_s: float,
        claim_tries: int,
        heard_within_s: float = 2.0,
        waits: Waits | None = None,
    ) -> None:
        self._store = store
        self._hosts = hosts
        self._queue = queue
        self._waits = waits or Waits(store, limits, time.monotonic)
        self._limits = limits
        self._ack_timeout_s = ack_timeout_s
        self._claim_tries = claim_tries
        self._heard_within_s = heard_within_s

    async def __call__(self, request: StartRequest) -> Handed | Starting | Answered:
        """Hand out an agent that acknowledges, or queue a spawn.

        Raises:
            AtCapacityError: the queue is full.
            IdempotencyConflictError: the request's key was used with another body.
            RateLimitedError: too many starts, or too many sessions at once.
            StartUnderWayError: it came again and is answered there; what an agent that has not acknowledged comes to is
                not known here.
            StoreUnavailableError: Redis is away; the same request may be sent again.
        """
        dead, refill = 0, False
        began = time.monotonic()
        quotas: Sequence[Quota] = ()
        for _ in range(self._claim_tries):
            if time.monotonic() - began > LAST_CLAIM_S:
                break
            reply_id = secrets.token_hex(12)
            outcome = await self._store.claim(request, reply_id)
            match outcome:
                case Claimed():
                    # Only the first claim of a burst says that a refill is due, and its agent may be the dead one.
                    refill, quotas = refill or outcome.refill, outcome.quotas
                    if await self._acknowledged(request, outcome, reply_id, began):
                        return Handed(outcome.session_id, outcome.assigned_at, refill, dead, quotas)
                    dead += 1
                case NoneReady():
                    quotas = outcome.quotas
                    break
                case Queued():
                    return await self._starting(outcome, dead, refill, request.kind)
                case Answered():
                    return outcome
        spawned = await self._spawn(request, dead, refill)
        return replace(spawned, quotas=quotas) if isinstance(spawned, Starting) else spawned

    async def _acknowledged(self, request: StartRequest, claim: Claimed, reply_id: str, began: float) -> bool:
        reply = await self._reply(claim.host, reply_id, began)
        if reply is not None and reply.ok:
            return True
        if reply is not None and reply.reason == "taken":
            # The store had lost that this agent belongs to somebody: its host puts the record right.
            await self._store.release_claim(request.request_key, claim.session_id)
            return False
        await self._store.evict(claim.session_id, claim.fence, request.request_key, _why(reply), reply_id)
        return False

    async def _reply(self, host: str, reply_id: str, began: float) -> HostReply | None:
        """What its host says of an agent, which it does in time: one that lives and is silent is late itself."""
        left_s = CLAIMS_S - (time.monotonic() - began)
        reply = await self._hosts.acknowledged(reply_id, min(self._ack_timeout_s, left_s))
        left_s = LATE_S - (time.monotonic() - began)
        if reply is None and left_s > 0 and await self._hosts.is_heard(host, self._heard_within_s):
            return await self._hosts.acknowledged(reply_id, left_s)
        return reply

    async def _spawn(self, request: StartRequest, dead: int, refill: bool) -> Starting | Answered:
        session_id = f"session_{int(time.time() * 1000)}_{secrets.token_hex(16)}"
        try:
            queued = await self._store.reserve_cold(request, session_id, secrets.token_hex(8), self._limits)
        except AtCapacityError:
            raise AtCapacityError(retry_after_s=await self._waits.retry_after_s(request.kind)) from None
        if isinstance(queued, Answered):
            return queued
        if queued.dispatched and queued.fresh:
            await self._queue.spawn(queued.session_id, urgent=True, kind=request.kind)
        return await self._starting(queued, dead, refill, request.kind)

    async def _starting(self, queued: Queued, dead: int, refill: bool, kind: str) -> Starting:
        session = await self._store.get(queued.session_id)
        position = queued.position if queued.fresh or session is None else session.queue_position or 1
        return Starting(
            session_id=queued.session_id,
            task_id=(session and session.task_id) or "",
            position=position,
            estimated_wait_s=await self._waits.estimate_s(position, session.waiting_place if session else None, kind),
            created_at=session.created_at if session else 0.0,
            refill=refill,
            dead=dead,
            fresh=queued.fresh,
        )


def request_digests(caller: str, idempotency_key: str | None, body: bytes) -> tuple[str, str, float]:
    """The digest a start is kept under, the digest of its body, and for how long (seconds).

    A caller's own key is bound to that caller, so that nobody reads another's answer by guessing a key.
    """
    key = f"{caller}\0{idempotency_key}" if idempotency_key else secrets.token_hex(16)
    keep_s = IDEMPOTENCY_S if idempotency_key else REQUEST_MEMORY_S
    return digest(key.encode()), digest(body), keep_s


def digest(data: bytes) -> str:
    """A name for something that is too long, or too private, to be part of a key."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _why(reply: HostReply | None) -> str:
    if reply is None:
        return "its agent did not acknowledge in time"
    return f"its agent refused: {reply.reason or 'no reason given'}"
