"""Thousands of claims while answers are dropped now and then: no agent for two callers, and none lost.

``GREENROOM_CLAIMS`` sets how many claims are made.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client, connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.records import Answered, HostReply, Limits
from orchestrator.services.pool import KeepPool, ReapAges
from orchestrator.services.start import Handed, StartSession
from tests.support.fakes import FakeTaskQueue
from tests.support.flaky_proxy import flaky_proxy
from tests.support.invariants import check_agreement
from tests.support.records import agent_record, beat, identity, start_request, warm_id
from tests.support.servers import RedisServer

CLAIMS = int(os.environ.get("GREENROOM_CLAIMS", "20000"))
CALLERS = 16
DROP_RATE = 0.01
SENDS_AGAIN = 0.7
"""Of the callers who had no answer, so many send the same request again; the others go away."""
HOST_NAMES = ("host-1", "host-2")
LIMITS = Limits(max_agents=10 * CLAIMS, max_queue=0, spawn_concurrency=4, spawn_deadline_s=20)


@dataclass
class FakeHost:
    """Acknowledges each claim for its agent, as the daemon does: an agent is one caller's only."""

    hosts: RedisHosts
    name: str
    fences: dict[str, str] = field(default_factory=dict)
    refused: int = 0
    stopping: bool = False
    """A cancellation does not do: redis-py may swallow it while it takes a connection."""

    async def run(self) -> None:
        after = "0"
        while not self.stopping:
            commands = await self.hosts.commands(self.name, after, 100)
            answers = [self._answer(fields) for _, fields in commands if fields["type"] == "assign"]
            await asyncio.gather(*answers)
            after = commands[-1][0] if commands else after

    async def _answer(self, command: dict[str, str]) -> None:
        accepted = self.fences.setdefault(command["session"], command["fence"]) == command["fence"]
        self.refused += not accepted
        await self.hosts.answer(command["reply"], HostReply(ok=accepted, reason=None if accepted else "taken"))


@dataclass
class Callers:
    """Sixteen callers at once; what each was handed."""

    start: StartSession
    left: int
    seed: int
    handed: list[tuple[str, str]] = field(default_factory=list)
    """Session id and the user it was handed to."""
    no_answer: int = 0
    sent_again: int = 0

    async def all(self) -> None:
        await asyncio.gather(*(self._caller(random.Random(self.seed + n)) for n in range(CALLERS)))

    async def _caller(self, rng: random.Random) -> None:
        while self.left > 0:
            self.left -= 1
            await self._claim(f"user-{self.left}", rng)

    async def _claim(self, user: str, rng: random.Random) -> None:
        request = start_request(f"key-{user}", user=user)
        while True:
            try:
                outcome = await self.start(request)
            except StoreUnavailableError:
                if rng.random() > SENDS_AGAIN:
                    self.no_answer += 1
                    return
                self.sent_again += 1
                continue
            assert isinstance(outcome, Handed), f"the pool is large enough for all, but: {outcome}"
            self.handed.append((outcome.session_id, user))
            return


async def in_parts(calls: Sequence[object], size: int = 64) -> None:
    for at in range(0, len(calls), size):
        await asyncio.gather(*calls[at : at + size])  # type: ignore[arg-type]


async def fill(store: RedisStore, count: int) -> set[str]:
    """So many agents in the pool, on two hosts in turn."""
    records = [agent_record(warm_id(n), who=identity(HOST_NAMES[n % 2], pid=n + 1)) for n in range(count)]
    await in_parts([store.record_agent(record) for record in records])
    return {record.session_id for record in records}


@asynccontextmanager
async def fake_hosts(client: Client) -> AsyncIterator[list[FakeHost]]:
    running = [FakeHost(RedisHosts(client), name) for name in HOST_NAMES]
    for host in running:
        await beat(host.hosts, host.name, lease_s=600)
    tasks = [asyncio.create_task(host.run()) for host in running]
    try:
        yield running
    finally:
        for host in running:
            host.stopping = True
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert outcomes == [None, None]


async def holders(client: Client, state: SessionState) -> dict[str, str]:
    ids = await client.zrange(keys.sessions_in(state), 0, -1)
    async with client.pipeline(transaction=False) as pipe:
        for session_id in ids:
            pipe.hget(keys.session(session_id), "userId")
        return dict(zip(ids, await pipe.execute(), strict=True))


@pytest.mark.timeout(300)
async def test_no_agent_is_handed_out_twice_and_none_is_lost(redis_server: RedisServer) -> None:
    client = connect(redis_server.url, max_connections=80)
    await client.flushall()
    store, queue = RedisStore(client), FakeTaskQueue()
    try:
        everyone = await fill(store, CLAIMS + CLAIMS // 10)
        async with fake_hosts(client) as hosts, flaky_proxy(redis_server.port, rate=DROP_RATE, seed=7) as proxy:
            through = connect(proxy.url)
            start = StartSession(
                RedisStore(through), RedisHosts(through), queue, LIMITS, ack_timeout_s=1.5, claim_tries=4
            )
            callers = Callers(start, CLAIMS, seed=7)
            begun = time.perf_counter()
            await callers.all()
            took_s = time.perf_counter() - begun
            await through.aclose()
        print(
            f"\n{CLAIMS} claims by {CALLERS} callers in {took_s:.1f} s: {CLAIMS / took_s:.0f}/s; "
            f"{proxy.dropped} answers dropped, {callers.sent_again} sent again, {callers.no_answer} gave up"
        )

        twice = [i for i, times in Counter(i for i, _ in callers.handed).items() if times > 1]
        assert twice == []
        assert len(callers.handed) + callers.no_answer == CLAIMS
        assert proxy.dropped > CLAIMS * DROP_RATE / 2, "answers really were dropped"
        assert sum(host.refused for host in hosts) == 0, "no agent was claimed under two fences"

        assigned = await holders(client, SessionState.ASSIGNED)
        failed = await holders(client, SessionState.FAILED)
        pool = set(await client.smembers(keys.POOL_READY))
        handed = dict(callers.handed)
        orphans = set(assigned) - set(handed)
        assert handed == {i: user for i, user in assigned.items() if i in handed}, "each is its caller's in the store"
        assert pool | set(handed) | orphans | set(failed) == everyone
        assert len(pool) + len(handed) + len(orphans) + len(failed) == len(everyone)
        assert len(orphans) <= callers.no_answer, "only who gave up leaves an agent behind"
        assert queue.spawned == []

        await in_parts([store.mark_active(session_id) for session_id in handed])
        ended = await reap_all(store, RedisHosts(client), queue)
        assert ended == orphans, "the lease ends what nobody took"
        counts = await store.counts(0)
        assert counts.by_state[SessionState.ASSIGNED] == 0
        assert counts.by_state[SessionState.ACTIVE] == len(handed)
        assert counts.pool_ready == len(pool)
        assert await client.scard(keys.POOL_READY) == counts.by_state[SessionState.READY]
        if CLAIMS <= 20_000:
            await check_agreement(client)
    finally:
        await client.flushall()
        await client.aclose()


async def reap_all(store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue) -> set[str]:
    """Reap with a lease of nothing until nothing is left to end."""
    ages = ReapAges(assign_lease_s=0, inactive_s=3600, warm_max_age_s=3600, record_s=86_400)
    pool = KeepPool(store, hosts, queue, LIMITS, ages, default_target=0)
    ended: set[str] = set()
    while batch := await pool.reap():
        ended |= {end.session_id for end in batch}
    return ended


async def test_an_answered_request_is_never_answered_otherwise(redis_server: RedisServer) -> None:
    """Every request is sent by two at once, under one key: both hear of the same agent."""
    client, of_hosts = connect(redis_server.url, max_connections=256), connect(redis_server.url)
    await client.flushall()
    store = RedisStore(client)
    try:
        everyone = await fill(store, 300)
        async with fake_hosts(of_hosts):
            start = StartSession(store, RedisHosts(client), FakeTaskQueue(), LIMITS, ack_timeout_s=1.5, claim_tries=4)

            async def ask(number: int) -> str:
                request = start_request(f"key-{number}", user=f"user-{number}")
                outcome = await start(request)
                if isinstance(outcome, Answered):
                    return outcome.answer
                return await store.keep_answer(request.request_key, outcome.session_id, 60)

            answers: list[str] = []
            for first in range(0, 100, 20):  # more at once would wait for one another, and not for an agent
                answers += await asyncio.gather(*(ask(first + n // 2) for n in range(40)))
        assert answers[::2] == answers[1::2]
        assert len(set(answers)) == 100
        assert set(answers) <= everyone
        assert (await store.counts(0)).total_assigned == 100
    finally:
        await client.flushall()
        await of_hosts.aclose()
        await client.aclose()
