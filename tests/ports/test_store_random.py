"""Any sequence of calls leaves everything in agreement, and hands no agent out twice."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from contract.states import FINAL_STATES, SessionState
from orchestrator.adapters.redis_client import connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_statistics import RedisStatistics
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import AtCapacityError, IdempotencyConflictError, SessionNotFoundError
from orchestrator.records import Claimed, Limits, ReplaceRule, StartRequest
from tests.support.fakes import fake_client
from tests.support.invariants import check_everything
from tests.support.records import agent_record, beat, cold_id, identity, start_request, warm_id

TIGHT = Limits(max_agents=6, max_queue=2, spawn_concurrency=3, spawn_deadline_s=20)
RULE = ReplaceRule(most=2)
IDS = [*map(warm_id, range(6)), *map(cold_id, range(6))]
STATES = [SessionState.READY, SessionState.ASSIGNED, SessionState.ACTIVE]
OPERATIONS = [
    "reserve_warm", "reserve_cold", "dispatch", "begin_spawn", "respawn", "record", "record", "claim", "claim",
    "evict", "release", "active", "touch", "finish", "retire", "beat", "sign_off", "seen", "token", "answer",
    "timeline", "sample", "replace", "replace", "lose_host", "end_by_agent", "forget_host",
]  # fmt: skip


class Walk:
    """Random calls on one store; remembers who was given what."""

    def __init__(self, store: RedisStore, hosts: RedisHosts, seed: int) -> None:
        self.store, self.hosts, self.rng = store, hosts, random.Random(seed)
        self.given: dict[tuple[str, int], str] = {}
        self.final: dict[str, SessionState] = {}
        self.last: Claimed | None = None
        self.last_key = ""

    async def step(self, name: str) -> None:
        await getattr(self, f"do_{name}")(self.rng.choice(IDS))

    async def do_reserve_warm(self, session_id: str) -> None:
        if session_id.startswith("prewarm") and await self.store.get(session_id) is None:
            await self.store.reserve_warm(session_id, 4, TIGHT)

    async def do_reserve_cold(self, session_id: str) -> None:
        if session_id.startswith("session") and await self.store.get(session_id) is None:
            try:
                await self.store.reserve_cold(self.request(), session_id, "t", TIGHT)
            except (AtCapacityError, IdempotencyConflictError):
                return

    def request(self) -> StartRequest:
        number = self.rng.randrange(8)
        return start_request(f"key{number}", user=f"user{number}", body=self.rng.choice(["same", "same", "other"]))

    async def do_dispatch(self, session_id: str) -> None:
        await self.store.dispatch(session_id, TIGHT)

    async def do_begin_spawn(self, session_id: str) -> None:
        await self.store.begin_spawn(session_id, self.rng.choice([-1, 20]))

    async def do_respawn(self, session_id: str) -> None:
        await self.store.respawn(session_id, 20)

    async def do_record(self, session_id: str) -> None:
        state = self.rng.choice(STATES)
        who = identity(self.rng.choice(["host-1", "host-2"]), self.rng.choice([1, 2]))
        await self.store.record_agent(agent_record(session_id, state, who=who, fence=self.rng.randrange(1, 9)))

    async def do_replace(self, session_id: str) -> None:
        session = await self.store.get(session_id)
        agent = (session and session.agent) or identity(pid=self.rng.choice([1, 2]))
        await self.store.replace(session_id, agent, "x", "agent_died", RULE)

    async def do_lose_host(self, _: str) -> None:
        views = await self.hosts.hosts()
        if views:
            lost = self.rng.choice(views)
            await self.hosts.suspect(lost.host, lost.heard)
            await self.store.lose_host(lost.host, lost.heard, RULE)

    async def do_end_by_agent(self, session_id: str) -> None:
        whose = {"agent": identity(pid=self.rng.choice([1, 2]))} if self.rng.random() < 0.5 else {"without_agent": True}
        await self.store.finish(session_id, SessionState.ENDED, "x", **whose)

    async def do_claim(self, _: str) -> None:
        request = self.request()
        try:
            outcome = await self.store.claim(request, "r")
        except IdempotencyConflictError:
            return
        if isinstance(outcome, Claimed):
            holder = self.given.setdefault((outcome.session_id, outcome.fence), request.request_key)
            if outcome.fence > 100:  # smaller ones are invented by do_record
                assert holder == request.request_key, "one agent was handed to two"
            self.last, self.last_key = outcome, request.request_key

    async def do_evict(self, _: str) -> None:
        if self.last is not None:
            await self.store.evict(self.last.session_id, self.last.fence, self.last_key, "silent", "r")

    async def do_release(self, session_id: str) -> None:
        await self.store.release_claim(self.last_key, self.last.session_id if self.last else session_id)

    async def do_active(self, session_id: str) -> None:
        await self.store.mark_active(session_id)

    async def do_touch(self, session_id: str) -> None:
        await self.store.touch(session_id, user_left=self.rng.choice([None, True, False]))

    async def do_finish(self, session_id: str) -> None:
        only_from = self.rng.choice([[], [SessionState.STARTING], STATES])
        await self.store.finish(session_id, self.rng.choice(FINAL_STATES), "x", only_from=only_from)

    async def do_retire(self, _: str) -> None:
        await self.store.retire(self.rng.randrange(3), "smaller")

    async def do_beat(self, _: str) -> None:
        await beat(self.hosts, self.rng.choice(["host-1", "host-2"]))

    async def do_sign_off(self, _: str) -> None:
        views = await self.hosts.hosts()
        if views:
            await self.hosts.sign_off(self.rng.choice(views).host)

    async def do_forget_host(self, _: str) -> None:
        views = await self.hosts.hosts()
        if views:
            await self.store._client.delete(f"host:{self.rng.choice(views).host}")  # as when its time is over
        await self.hosts.forget_gone()

    async def do_seen(self, session_id: str) -> None:
        await self.store.seen(session_id)

    async def do_token(self, session_id: str) -> None:
        await self.store.token_made(session_id)

    async def do_timeline(self, session_id: str) -> None:
        with suppress(SessionNotFoundError):
            await self.store.keep_timeline(session_id, {"click": 0})

    async def do_sample(self, _: str) -> None:
        await RedisStatistics(self.store._client).sample(3)

    async def do_answer(self, _: str) -> None:
        if self.last_key:
            await self.store.keep_answer(self.last_key, "answer", 60)

    async def check(self) -> None:
        for session_id in IDS:
            session = await self.store.get(session_id)
            if session is not None and session.state in FINAL_STATES:
                assert self.final.setdefault(session_id, session.state) is session.state, "a final state was left"
        snapshot, counts = await self.store.snapshot(), await self.store.counts(0)
        assert snapshot.agents == counts.agents
        assert (len(snapshot.spawning), len(snapshot.waiting)) == (counts.spawning, counts.waiting)
        assert (snapshot.ready, snapshot.warming("default")) == (counts.pool_ready, counts.warming)


async def walk(url: str | None, names: list[str], seed: int) -> None:
    client = fake_client() if url is None else connect(url)
    try:
        await client.flushall()
        steps = Walk(RedisStore(client), RedisHosts(client), seed)
        await beat(steps.hosts)
        for name in names:
            await steps.step(name)
            await steps.check()
        await check_everything(client)
    finally:
        await client.aclose()


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(OPERATIONS), min_size=20, max_size=50), st.integers(0, 2**32))
def test_any_sequence(redis_url: str | None, names: list[str], seed: int) -> None:
    asyncio.run(walk(redis_url, names, seed))
