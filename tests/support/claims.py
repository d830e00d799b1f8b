"""Callers who claim at once through a proxy that drops answers now and then, and what became of every agent."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client, connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.records import HostReply, Limits
from orchestrator.services.pool import KeepPool, ReapAges
from orchestrator.services.start import Handed, StartSession
from tests.support.fakes import FakeTaskQueue
from tests.support.flaky_proxy import flaky_proxy
from tests.support.records import agent_record, beat, identity, start_request, warm_id
from tests.support.servers import RedisServer

CALLERS = 16
DROP_RATE = 0.01
SENDS_AGAIN = 0.7
"""Of the callers who had no answer, so many send the same request again; the others go away."""
HOST_NAMES = ("host-1", "host-2")
LEASE_S = 3600
"""Of the two hosts, which send no heartbeats: longer than any run."""


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
        await beat(host.hosts, host.name, lease_s=LEASE_S)
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


@dataclass(frozen=True)
class Outcome:
    """What was handed out, and where every agent is afterwards."""

    everyone: set[str]
    """All agents that there were."""
    handed: list[tuple[str, str]]
    """Session id and the user it was handed to, as the callers heard it."""
    no_answer: int
    """Callers who went away without one."""
    sent_again: int
    dropped: int
    """Answers that the proxy kept back."""
    refused: int
    """Claims of an agent that had another caller already, by its host."""
    took_s: float
    assigned: dict[str, str]
    """Session id and user, as the store has it."""
    failed: set[str]
    pool: set[str]
    spawned: int

    @property
    def twice(self) -> list[str]:
        """Agents that two callers were handed."""
        return [i for i, times in Counter(i for i, _ in self.handed).items() if times > 1]

    @property
    def others(self) -> list[str]:
        """Agents that the store gives to another user than the one who was handed them."""
        return [i for i, user in self.handed if self.assigned.get(i) != user]

    @property
    def orphans(self) -> set[str]:
        """Claimed, and never heard of by a caller: the lease ends them."""
        return set(self.assigned) - {i for i, _ in self.handed}

    @property
    def leaked(self) -> set[str]:
        """Neither in the pool, nor a caller's, nor ended, nor about to be by the lease."""
        return self.everyone - self.pool - {i for i, _ in self.handed} - self.orphans - self.failed


async def claim_all(server: RedisServer, client: Client, claims: int, *, seed: int = 7) -> Outcome:
    """So many claims on an empty store by sixteen callers, answers being dropped now and then."""
    await client.flushall()
    everyone = await fill(RedisStore(client), claims + claims // 10)
    queue = FakeTaskQueue()
    limits = Limits(max_agents=10 * claims, max_queue=0, spawn_concurrency=4, spawn_deadline_s=20)
    async with fake_hosts(client) as hosts, flaky_proxy(server.port, rate=DROP_RATE, seed=seed) as proxy:
        through = connect(proxy.url)
        start = StartSession(RedisStore(through), RedisHosts(through), queue, limits, ack_timeout_s=1.5, claim_tries=4)
        callers = Callers(start, claims, seed=seed)
        begun = time.perf_counter()
        await callers.all()
        took_s = time.perf_counter() - begun
        await through.aclose()
    return Outcome(
        everyone=everyone,
        handed=callers.handed,
        no_answer=callers.no_answer,
        sent_again=callers.sent_again,
        dropped=proxy.dropped,
        refused=sum(host.refused for host in hosts),
        took_s=took_s,
        assigned=await holders(client, SessionState.ASSIGNED),
        failed=set(await holders(client, SessionState.FAILED)),
        pool=set(await client.smembers(keys.POOL_READY)),
        spawned=len(queue.spawned),
    )


async def reap_all(client: Client) -> set[str]:
    """Reap with a lease of nothing until nothing is left to end; the sessions that were ended."""
    limits = Limits(max_agents=1, max_queue=0, spawn_concurrency=4, spawn_deadline_s=20)
    ages = ReapAges(assign_lease_s=0, inactive_s=3600, warm_max_age_s=36_000, record_s=86_400)
    pool = KeepPool(RedisStore(client), RedisHosts(client), FakeTaskQueue(), limits, ages, default_target=0)
    ended: set[str] = set()
    while batch := await pool.reap():
        ended |= {end.session_id for end in batch}
    return ended
