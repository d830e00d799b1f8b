"""The session store on Redis: one Lua script for each change, and the records' way in and out of hashes."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from contract import keys
from contract.keys import DEFAULT_KIND
from contract.messages import Assignment, Turn
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client, Scripts, again, translated
from orchestrator.adapters.redis_lookup import records
from orchestrator.adapters.redis_records import (
    agent_args,
    kind_counts_of,
    parse_cursor,
    quotas_of,
    rate_args,
    replayed,
    session_of,
    snapshot_of,
    start_args,
    state_of,
    target_of,
    too_many,
    too_many_at_once,
    turns_of,
)
from orchestrator.domain.errors import (
    AgentsUnavailableError,
    AtCapacityError,
    HostDrainingError,
    HostFullError,
    InvalidRequestError,
    PassedOnError,
    SessionNotFoundError,
    StartUnderWayError,
)
from orchestrator.domain.pool import MOST_YIELD_S, AgedPool, Aging, PoolSnapshot
from orchestrator.records import (
    NO_MORE,
    AgentIdentity,
    AgentRecord,
    Answered,
    Claimed,
    Counts,
    Death,
    Finished,
    HostLoss,
    Limits,
    NoneReady,
    Page,
    Queued,
    RecordOutcome,
    ReplaceRule,
    Session,
    SpawnStats,
    StartRequest,
    number_in,
)

TURNS_KEPT = 400
TURNS_TTL_S = 3600
REAP_AT_MOST = 500
ASKED_AGAIN = -1
"""What ``evict.lua`` says where the request came again."""
DRAINS, FULL, NOT_NOW = -1, -2, -3
"""What ``begin_spawn.lua`` says instead of a number of tries; below them, another host is to start it."""


class RedisStore:
    """``ports.SessionStore`` on Redis."""

    def __init__(self, client: Client, *, record_s: float = 86_400, claim_depth: int = 64) -> None:
        self._client = client
        self._scripts = Scripts(client)
        self._record_s = int(record_s)
        self._claim_depth = claim_depth
        """Members of the pool that one claim looks at before it calls the pool empty."""

    # --- a start ---------------------------------------------------------------------------------------

    async def claim(self, request: StartRequest, reply_id: str) -> Claimed | Queued | Answered | NoneReady:
        """See ``ports.SessionStore``."""
        reply = await self._scripts.again(
            "claim",
            [
                keys.idempotency(request.request_key),
                keys.owned(request.owner),
                keys.STATS_VACANCIES,
                keys.POOL_ARRIVALS,
                *(keys.limit(each.name, each.digest) for each in request.counted),
            ],
            [*start_args(request), keys.reply(reply_id), self._claim_depth, *rate_args(request)],
        )
        match reply:
            case ["claimed", session_id, fence, host, at, refill, left]:
                return Claimed(session_id, int(fence), host, float(at), refill == "1", quotas=quotas_of(request, left))
            case ["queued", session_id]:
                return Queued(session_id, dispatched=True, position=1, fresh=False)
            case ["none", left]:
                return NoneReady(quotas_of(request, left))
            case ["limited", place, left]:
                raise too_many(request, int(place), left)
            case ["crowded"]:
                raise too_many_at_once(request)
        return replayed(reply)

    async def evict(self, session_id: str, fence: int, request_key: str, reason: str, reply_id: str) -> bool:
        """See ``ports.SessionStore``."""
        own = [keys.session(session_id), keys.idempotency(request_key)]
        args = [session_id, fence, reason, self._record_s, keys.reply(reply_id)]
        evicted = int(await self._scripts.again("evict", own, args))
        if evicted == ASKED_AGAIN:
            raise StartUnderWayError
        return evicted == 1

    async def release_claim(self, request_key: str, session_id: str) -> None:
        """See ``ports.SessionStore``."""
        key = keys.idempotency(request_key)
        with translated():
            if await self._client.hget(key, "session") == session_id:
                await self._client.hdel(key, "session", "kind")

    async def keep_answer(self, request_key: str, answer: str, keep_s: float) -> str:
        """See ``ports.SessionStore``."""
        return str(await self._scripts.again("keep_answer", [keys.idempotency(request_key)], [answer, int(keep_s)]))

    async def reserve_cold(
        self, request: StartRequest, session_id: str, task_id: str, limits: Limits
    ) -> Queued | Answered:
        """See ``ports.SessionStore``."""
        reply = await self._scripts.again(
            "reserve_cold",
            [
                keys.session(session_id),
                keys.idempotency(request.request_key),
                keys.owned(request.owner),
                keys.HOSTS,
                keys.POOL_ARRIVALS,
            ],
            [
                session_id,
                *start_args(request),
                task_id,
                limits.max_agents,
                limits.max_queue,
                limits.spawn_deadline_s,
                *(part for kind_and_most in limits.most_of.items() for part in kind_and_most),
            ],
        )
        match reply:
            case ["queued", kept_id, dispatched, position, fresh]:
                return Queued(kept_id, dispatched == "1", int(position), fresh == "1")
            case ["full"]:
                raise AtCapacityError
            case ["under way"]:
                raise StartUnderWayError
            case ["unavailable", retry_s]:
                # Why is for operators (health, the log): it quotes what the agent's module said.
                raise AgentsUnavailableError(retry_after_s=int(retry_s))
            case ["crowded"]:
                raise too_many_at_once(request)
        return replayed(reply)

    # --- spawning --------------------------------------------------------------------------------------

    async def reserve_warm(self, session_id: str, target: int, limits: Limits, kind: str = DEFAULT_KIND) -> bool:
        """See ``ports.SessionStore``."""
        args = [session_id, target, limits.max_agents, limits.spawn_concurrency, limits.spawn_deadline_s, kind]
        own = [keys.session(session_id), keys.HOSTS]
        return bool(await self._scripts.run("reserve_warm", own, [*args, limits.most(kind)]))

    async def dispatch(self, session_id: str, limits: Limits, kind: str = DEFAULT_KIND) -> bool:
        """See ``ports.SessionStore``."""
        args = [session_id, limits.max_agents, limits.most(kind), limits.spawn_concurrency, limits.spawn_deadline_s]
        return bool(await self._scripts.run("dispatch", [keys.session(session_id), keys.HOSTS], args))

    async def respawn(self, session_id: str, deadline_s: float) -> bool:
        """See ``ports.SessionStore``."""
        return bool(await self._scripts.run("respawn", [keys.session(session_id)], [session_id, deadline_s]))

    async def begin_spawn(self, session_id: str, deadline_s: float, host: str = "", *, task: str = "") -> int:
        """See ``ports.SessionStore``."""
        # Sent again it counts two tries at worst.
        own = [keys.session(session_id), keys.HOSTS]
        attempt = int(await self._scripts.again("begin_spawn", own, [session_id, deadline_s, host, task]))
        if attempt == DRAINS:
            raise HostDrainingError
        if attempt == FULL:
            raise HostFullError
        if attempt == NOT_NOW:
            raise AgentsUnavailableError
        if attempt < NOT_NOW:
            raise PassedOnError(passed=NOT_NOW - attempt)
        return attempt

    async def hold_spawn(self, session_id: str, reason: str, *, failed: bool) -> bool:
        """See ``ports.SessionStore``."""
        to = SessionState.FAILED if failed else SessionState.ENDED
        args = [session_id, str(to), reason, self._record_s]
        return bool(await self._scripts.again("hold_spawn", [keys.session(session_id)], args))

    async def give_back(self, session_id: str, deadline_s: float, *, counted: bool, full_host: str = "") -> bool:
        """See ``ports.SessionStore``."""
        why = "no host takes new sessions"
        args = [session_id, deadline_s, "1" if counted else "0", why, self._record_s, full_host]
        return bool(await self._scripts.run("give_back", [keys.session(session_id), keys.HOSTS], args))

    async def record_agent(self, record: AgentRecord) -> RecordOutcome:
        """See ``ports.SessionStore``."""
        listed = keys.host_sessions(record.identity.host)
        own = [keys.session(record.session_id), listed, keys.STATS_VACANCIES, keys.STATS_REFILL_RECENT]
        accepted, fence, assignment, replaces = await self._scripts.again("record_agent", own, agent_args(record))
        if not assignment:
            return RecordOutcome(accepted == "1")
        fields = json.loads(assignment)
        held = Assignment(session_id=record.session_id, fence=int(fence), **fields)
        return RecordOutcome(True, held, replaces == "1")

    async def count_spawn_failure(self, code: str) -> None:
        """See ``ports.SessionStore``."""
        with translated():
            await self._client.hincrby(keys.STATS_SPAWN_FAILURES, code, 1)

    async def spawn_stats(self) -> SpawnStats:
        """See ``ports.SessionStore``."""
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.lrange(keys.STATS_SPAWN_RECENT, 0, -1)
            pipe.hgetall(keys.STATS_SPAWN_SECONDS)
            pipe.hgetall(keys.STATS_SPAWN_FAILURES)
            pipe.hgetall(keys.STATS_REPLACEMENTS)
            with translated():
                recent, buckets, failures, replacements = await pipe.execute()
        return SpawnStats(
            [float(value) for value in recent],
            {bound: float(count) for bound, count in buckets.items()},
            {code: int(count) for code, count in failures.items()},
            {code: int(count) for code, count in replacements.items()},
        )

    async def call_lengths_s(self) -> list[float]:
        """See ``ports.SessionStore``."""
        with translated():
            return [float(value) for value in await self._client.lrange(keys.STATS_CALL_RECENT, 0, -1)]

    # --- a session's life ------------------------------------------------------------------------------

    async def mark_active(self, session_id: str) -> bool:
        """See ``ports.SessionStore``."""
        return bool(await self._scripts.again("mark_active", [keys.session(session_id)], [session_id]))

    async def touch(self, session_id: str, *, user_left: bool | None = None) -> None:
        """See ``ports.SessionStore``."""
        left = {None: "", True: "1", False: "0"}[user_left]
        await self._scripts.again("touch", [keys.session(session_id)], [session_id, left])

    async def finish(
        self,
        session_id: str,
        state: SessionState,
        reason: str,
        *,
        code: str | None = None,
        only_from: Sequence[SessionState] = (),
        agent: AgentIdentity | None = None,
        without_agent: bool = False,
        waiting: bool = False,
    ) -> Finished:
        """See ``ports.SessionStore``."""
        whose = "waiting" if waiting else "none" if without_agent else agent.word if agent else "any"
        changed, previous, host = await self._scripts.again(
            "finish",
            [keys.session(session_id)],
            [session_id, str(state), reason, code or "internal_error", self._record_s, ",".join(only_from), whose],
        )
        return Finished(changed == "1", state_of(previous), host or None)

    async def replace(self, session_id: str, agent: AgentIdentity, reason: str, code: str, rule: ReplaceRule) -> Death:
        """See ``ports.SessionStore``."""
        own = [keys.session(session_id), keys.STATS_REPLACEMENTS]
        args = [session_id, agent.word, reason, code, rule.most, rule.begin_s, self._record_s]
        return Death(await self._scripts.again("replace", own, args))

    async def lose_host(self, host: str, heard: str, rule: ReplaceRule) -> HostLoss:
        """See ``ports.SessionStore``."""
        own = [keys.host(host), keys.host_sessions(host), keys.STATS_REPLACEMENTS]
        args = [host, heard, rule.most, rule.begin_s, self._record_s]
        replaced, failed, news = await self._scripts.again("lose_host", own, args)
        return HostLoss(replaced, failed, bool(news))

    async def retire(self, count: int, reason: str, *, leaving: int = 0, kind: str = DEFAULT_KIND) -> list[str]:
        """See ``ports.SessionStore``."""
        return list(await self._scripts.run("retire", [], [count, reason, self._record_s, leaving, kind]))

    async def retire_warm(self, host: str) -> list[str]:
        """See ``ports.SessionStore``."""
        args = [host, "its host drains", self._record_s]
        return list(await self._scripts.again("retire_warm", [keys.host_sessions(host)], args))

    async def owned_by(self, host: str) -> set[str]:
        """See ``ports.SessionStore``."""
        with translated():
            return {str(i) for i in await self._client.smembers(keys.host_sessions(host))}

    async def add_turn(self, session_id: str, turn: Turn) -> None:
        """See ``ports.SessionStore``."""
        key = keys.turns(session_id)
        async with self._client.pipeline() as pipe:
            pipe.rpush(key, turn.model_dump_json(exclude_none=True))
            pipe.ltrim(key, -TURNS_KEPT, -1)
            pipe.expire(key, TURNS_TTL_S)
            with translated():
                await pipe.execute()

    async def turns(self, session_id: str) -> list[Turn]:
        """See ``ports.SessionStore``."""
        with translated():
            kept = await self._client.lrange(keys.turns(session_id), 0, -1)
        return turns_of(kept)

    async def seen(self, session_id: str) -> None:
        """See ``ports.SessionStore``."""
        await self._scripts.again("note_time", [keys.session(session_id)], [session_id, "lastSeenAt"])

    async def token_made(self, session_id: str) -> None:
        """See ``ports.SessionStore``."""
        await self._scripts.again("note_time", [keys.session(session_id)], [session_id, "tokenAt"])

    async def keep_timeline(self, session_id: str, marks: Mapping[str, float]) -> bool:
        """See ``ports.SessionStore``."""
        text = json.dumps(dict(marks), separators=(",", ":"))
        first = await self._scripts.again("keep_timeline", [keys.session(session_id)], [session_id, text])
        if first < 0:
            raise SessionNotFoundError
        return bool(first)

    # --- looking ---------------------------------------------------------------------------------------

    async def get(self, session_id: str) -> Session | None:
        """See ``ports.SessionStore``."""

        async def read() -> Sequence[Any]:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.hgetall(keys.session(session_id))
                pipe.zrank(keys.POOL_SPAWNING, session_id)
                pipe.zrank(keys.POOL_WAITING, session_id)
                pipe.zcard(keys.POOL_SPAWNING)
                return await pipe.execute()

        fields, spawning, waiting, under_way = await again(read)
        session = session_of(session_id, fields)
        if session is None or session.state is not SessionState.STARTING:
            return session
        if spawning is not None:
            return replace(session, queue_position=spawning + 1)
        if waiting is None:
            return session
        return replace(session, queue_position=under_way + waiting + 1, waiting_place=waiting + 1)

    async def page(self, states: Sequence[SessionState], limit: int, cursor: str | None) -> Page:
        """See ``ports.SessionStore``."""
        state, score, after = parse_cursor(cursor) if cursor else (states[0], "+inf", None)
        if state not in states:
            raise InvalidRequestError("cursor: it belongs to another list")
        found: list[tuple[SessionState, str, float]] = []
        for current in states[states.index(state) :]:
            found += await self._ids(current, score, after, limit + 1 - len(found))
            score, after = "+inf", None
            if len(found) > limit:
                break
        sessions = await records(self._client, [session_id for _, session_id, _ in found[:limit]])
        last = found[limit - 1] if len(found) > limit else None
        return Page(sessions, f"{last[0]}|{last[2]!r}|{last[1]}" if last else None)

    async def _ids(
        self, state: SessionState, score: str, after: str | None, count: int
    ) -> list[tuple[SessionState, str, float]]:
        """After ``after`` among those of its score (all ended by one retirement share one), then below that score."""
        key = keys.sessions_in(state)
        below = score if after is None else f"({score}"
        async with self._client.pipeline() as pipe:
            if after is not None:
                pipe.zrevrangebyscore(key, score, score, withscores=True)
            pipe.zrevrangebyscore(key, below, "-inf", start=0, num=count, withscores=True)
            with translated():
                *ties, rest = await pipe.execute()
        same = [(i, s) for i, s in ties[0] if after is not None and i < after] if ties else []
        return [(state, session_id, at_score) for session_id, at_score in [*same, *rest][:count]]

    async def counts(self, default_target: int, more: Mapping[str, int] = NO_MORE) -> Counts:
        """See ``ports.SessionStore``."""
        own = [keys.POOL_TARGET, keys.STATS_LAST_REFILL, keys.POOL_ARRIVALS, keys.POOL_DEMAND, keys.HOSTS]
        targets = {DEFAULT_KIND: default_target, **more}
        row = await self._scripts.again("counts", own, list(targets))
        spawning, waiting, spawned, assigned, dead, last_refill, now, spawns_s, room, *kinds = row[6:]
        lately_s = [float(seconds) for seconds in spawns_s]
        return Counts(
            by_state=dict(zip(SessionState, map(int, row[:6]), strict=True)),
            spawning=int(spawning),
            waiting=int(waiting),
            total_spawned=int(spawned),
            total_assigned=int(assigned),
            dead_claims=int(dead),
            last_refill_at=number_in({"at": last_refill}, "at"),
            now=float(now),
            host_room=None if room == "" else int(room),
            kinds={
                kind: kind_counts_of(of_kind, target, lately_s, float(now))
                for (kind, target), of_kind in zip(targets.items(), kinds, strict=True)
            },
        )

    async def snapshot(self, more: Collection[str] = ()) -> PoolSnapshot:
        """See ``ports.SessionStore``."""
        arguments = [MOST_YIELD_S, DEFAULT_KIND, *more]
        return snapshot_of(await self._scripts.again("snapshot", [keys.HOSTS, keys.STATS_VACANCIES], arguments))

    async def aging(self, assign_lease_s: float, inactive_s: float, warm_max_age_s: float) -> Aging:
        """See ``ports.SessionStore``."""
        args = [assign_lease_s, inactive_s, warm_max_age_s, REAP_AT_MOST]
        unclaimed, inactive, pools = await self._scripts.again("aging", [], args)
        return Aging(tuple(unclaimed), tuple(inactive), tuple(AgedPool(tuple(old), ready) for ready, old in pools))

    async def forget(self, older_than_s: float) -> int:
        """See ``ports.SessionStore``."""
        limit = await self.now() - older_than_s
        async with self._client.pipeline(transaction=False) as pipe:
            for state in (SessionState.ENDED, SessionState.FAILED):
                pipe.zremrangebyscore(keys.sessions_in(state), "-inf", limit)
            with translated():
                return sum(await pipe.execute())

    # --- the pool's size, refills, locks ---------------------------------------------------------------

    async def set_target(self, size: int, default: int, kind: str = DEFAULT_KIND) -> int:
        """See ``ports.SessionStore``."""
        async with self._client.pipeline() as pipe:
            pipe.set(keys.of_kind(keys.POOL_TARGET, kind), size, get=True)
            pipe.delete(keys.of_kind(keys.POOL_AIM, kind))
            # A place that nobody is to take any more would never be filled.
            pipe.delete(keys.of_kind(keys.STATS_VACANCIES, kind))
            with translated():
                previous, *_ = await pipe.execute()
        return target_of(previous, default)

    async def note_demand(self, expected: float, keep_s: float, target: int, kind: str = DEFAULT_KIND) -> None:
        """See ``ports.SessionStore``."""
        own = [keys.of_kind(keys.POOL_DEMAND, kind), keys.of_kind(keys.POOL_AIM, kind)]
        await self._scripts.again("note_demand", own, [f"{expected:.6f}", keep_s, target])

    async def refill_due(self) -> bool:
        """See ``ports.SessionStore``."""
        return bool(await self._scripts.run("refill_due"))

    async def refill_begun(self) -> None:
        """See ``ports.SessionStore``."""
        now = await self.now()
        async with self._client.pipeline() as pipe:
            pipe.delete(keys.REFILL_PENDING)
            pipe.set(keys.STATS_LAST_REFILL, f"{now:.6f}")
            with translated():
                await pipe.execute()

    async def locked(self, name: str, ttl_s: float, token: str) -> bool:
        """See ``ports.SessionStore``."""
        with translated():
            return bool(await self._client.set(keys.lock(name), token, nx=True, px=int(ttl_s * 1000)))

    async def unlock(self, name: str, token: str) -> None:
        """See ``ports.SessionStore``."""
        await self._scripts.run("unlock", [keys.lock(name)], [token])

    async def now(self) -> float:
        """See ``ports.SessionStore``."""
        with translated():
            seconds, micros = await self._client.time()
        return float(seconds) + float(micros) / 1e6

    async def ping(self) -> None:
        """See ``ports.SessionStore``."""
        with translated():
            await self._client.ping()
