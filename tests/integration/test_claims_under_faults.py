"""Thousands of claims while answers are dropped now and then: no agent for two callers, and none lost.

``python -m benchmarks.claims`` makes more of them.
"""

from __future__ import annotations

import asyncio

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.records import Answered, Limits
from orchestrator.services.start import StartSession
from tests.support.claims import CALLERS, DROP_RATE, claim_all, fake_hosts, fill, in_parts, reap_all
from tests.support.fakes import FakeTaskQueue
from tests.support.invariants import check_agreement
from tests.support.records import start_request
from tests.support.servers import RedisServer

CLAIMS = 20_000
LIMITS = Limits(max_agents=10 * CLAIMS, max_queue=0, spawn_concurrency=4, spawn_deadline_s=20)


@pytest.mark.timeout(300)
async def test_no_agent_is_handed_out_twice_and_none_is_lost(redis_server: RedisServer) -> None:
    client = connect(redis_server.url, max_connections=80)
    try:
        found = await claim_all(redis_server, client, CLAIMS)
        print(
            f"\n{CLAIMS} claims by {CALLERS} callers in {found.took_s:.1f} s: {CLAIMS / found.took_s:.0f}/s; "
            f"{found.dropped} answers dropped, {found.sent_again} sent again, {found.no_answer} gave up"
        )

        assert found.twice == []
        assert len(found.handed) + found.no_answer == CLAIMS
        assert found.dropped > CLAIMS * DROP_RATE / 2, "answers really were dropped"
        assert found.refused == 0, "no agent was claimed under two fences"

        assert found.others == [], "each is its caller's in the store"
        handed = dict(found.handed)
        assert found.pool | set(handed) | found.orphans | found.failed == found.everyone
        assert len(found.pool) + len(handed) + len(found.orphans) + len(found.failed) == len(found.everyone)
        assert found.leaked == set()
        assert len(found.orphans) <= found.no_answer, "only who gave up leaves an agent behind"
        assert found.spawned == 0

        store = RedisStore(client)
        await in_parts([store.mark_active(session_id) for session_id in handed])
        assert await reap_all(client) == found.orphans, "the lease ends what nobody took"
        counts = await store.counts(0)
        assert counts.by_state[SessionState.ASSIGNED] == 0
        assert counts.by_state[SessionState.ACTIVE] == len(handed)
        assert counts.pool_ready == len(found.pool)
        assert await client.scard(keys.POOL_READY) == counts.by_state[SessionState.READY]
        await check_agreement(client)
    finally:
        await client.flushall()
        await client.aclose()


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
