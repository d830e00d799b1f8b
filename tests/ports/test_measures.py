"""What agents measure is counted once, however often it is told; a call's length and cost when it is over."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from contract import keys
from contract.measures import Timing, Used
from contract.messages import Measured
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_measures import RedisMeasures
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.prices import Prices
from orchestrator.domain.voice import StoreMemory
from orchestrator.records import AgentIdentity
from tests.support.records import beat, claimed, warm

PRICES = Prices({"groq.llm_output_tokens": 0.001, "inworld.tts_characters": 0.0001})
AGENT = AgentIdentity("host-1", "boot-1", 4242, 99)
SUCCESSOR = AgentIdentity("host-2", "boot-2", 17, 1)


@pytest.fixture
def measures(client: Client) -> RedisMeasures:
    return RedisMeasures(client)


async def call(store: RedisStore, hosts: RedisHosts) -> str:
    """A user in a call."""
    await beat(hosts)
    await warm(store, 1)
    session_id = (await claimed(store)).session_id
    await store.mark_active(session_id)
    return session_id


def report(seq: int = 1) -> Measured:
    return Measured(
        seq=seq,
        timings=(
            Timing(of="latency", provider="other", seconds=0.75),
            Timing(of="llm", provider="groq", seconds=0.2),
        ),
        used=(
            Used(unit="llm_output_tokens", provider="groq", amount=20),
            Used(unit="tts_characters", provider="inworld", amount=100),
            Used(unit="stt_seconds", provider="offline", amount=1.5),
        ),
        barge_ins=2,
        transcription_errors=("assemblyai",),
    )


async def test_a_report_is_counted_with_its_cost(
    store: RedisStore, hosts: RedisHosts, measures: RedisMeasures, client: Client
) -> None:
    session_id = await call(store, hosts)
    assert await measures.note(session_id, AGENT, report(), PRICES)
    found = await measures.observations()
    assert found["latency_seconds|default|other|sum"] == pytest.approx(0.75)
    assert found["latency_seconds|default|other|count"] == 1
    assert found["latency_seconds|default|other|0.8"] == 1
    assert "latency_seconds|default|other|0.7" not in found
    assert found["llm_seconds|default|groq|0.2"] == 1
    assert found["used_tts_characters|default|inworld"] == 100
    assert found["used_stt_seconds|default|offline"] == 1.5
    assert found["cost_usd|default|groq"] == pytest.approx(0.02)
    assert found["cost_usd|default|inworld"] == pytest.approx(0.01)
    assert "cost_usd|default|offline" not in found
    assert found["barge_ins|default|"] == 2
    assert found["transcription_errors|default|assemblyai"] == 1
    assert float(await client.hget(keys.session(session_id), "costUsd")) == pytest.approx(0.03)


async def test_a_report_that_comes_again_counts_once(
    store: RedisStore, hosts: RedisHosts, measures: RedisMeasures
) -> None:
    """Its line broke, its host died before it had told the store, or the store's answer was lost."""
    session_id = await call(store, hosts)
    sent = [(AGENT, 1), (AGENT, 1), (AGENT, 2), (AGENT, 1), (SUCCESSOR, 1), (AGENT, 2), (AGENT, 3), (SUCCESSOR, 1)]
    counted = [await measures.note(session_id, agent, report(seq), PRICES) for agent, seq in sent]
    assert counted == [True, False, True, False, True, False, True, False]
    assert (await measures.observations())["barge_ins|default|"] == 2 * 4


async def test_a_session_that_the_store_does_not_know_is_not_made(measures: RedisMeasures, client: Client) -> None:
    assert await measures.note("session_00000000", AGENT, report(), PRICES)
    assert not await client.exists(keys.session("session_00000000"))


async def test_a_call_is_settled_once_and_only_when_it_is_over(
    store: RedisStore, hosts: RedisHosts, measures: RedisMeasures
) -> None:
    session_id = await call(store, hosts)
    await measures.note(session_id, AGENT, report(), PRICES)
    assert await measures.settle([session_id]) == 0
    await store.finish(session_id, SessionState.ENDED, "inactive")
    assert await measures.settle([session_id]) == 1
    assert await measures.settle([session_id]) == 0
    assert await measures.settle_late(await store.now()) == 0
    found = await measures.observations()
    assert found["session_seconds|default||count"] == 1
    assert found["call_usd|default||sum"] == pytest.approx(0.03)
    assert "call_usd|default||0.02" not in found
    assert found["call_usd|default||0.05"] == found["silence_timeouts|default|"] == 1


async def test_what_no_host_settled_is_settled_late(
    store: RedisStore, hosts: RedisHosts, measures: RedisMeasures
) -> None:
    session_id = await call(store, hosts)
    await store.finish(session_id, SessionState.FAILED, "its host is lost")
    assert await measures.settle_late(await store.now() + 1) == 1
    assert (await measures.observations())["session_seconds|default||count"] == 1


async def test_who_never_came_has_a_cost_and_no_length(
    store: RedisStore, hosts: RedisHosts, measures: RedisMeasures
) -> None:
    await beat(hosts)
    await warm(store, 1, 2)
    assigned = (await claimed(store)).session_id
    waiting = next(iter(await store.retire(1, "too many")))
    await store.finish(assigned, SessionState.ENDED, "nobody joined in time")
    assert await measures.settle([assigned, waiting, "session_00000000"]) == 1
    found = await measures.observations()
    assert found["call_usd|default||count"] == 1
    assert "session_seconds|default||count" not in found


async def test_what_is_no_number_is_left_out(measures: RedisMeasures, client: Client) -> None:
    await client.hset(keys.STATS_VOICE, mapping={"barge_ins|default|": "many", "cost_usd|default|groq": "1"})
    assert await measures.observations() == {"cost_usd|default|groq": 1.0}


async def test_redis_says_what_it_uses_where_it_can(measures: RedisMeasures, redis_url: str | None) -> None:
    memory = await measures.memory()
    if redis_url is None:  # the one in this process cannot be asked, as some that are rented
        assert memory is None
    else:
        assert memory is not None
        assert 0 < memory.used_bytes < memory.most_bytes


@pytest.mark.parametrize(
    ("told", "memory"),
    [
        ({"used_memory": 5, "maxmemory": 10, "total_system_memory": 20}, StoreMemory(5, 10)),
        ({"used_memory": 5, "maxmemory": 0, "total_system_memory": 20}, StoreMemory(5, 20)),
        ({"used_memory": 5, "maxmemory": 0, "total_system_memory": 0}, None),
        ({"used_memory": 5}, None),
    ],
)
async def test_without_a_most_redis_memory_is_not_known(
    measures: RedisMeasures,
    client: Client,
    monkeypatch: pytest.MonkeyPatch,
    told: Mapping[str, int],
    memory: StoreMemory | None,
) -> None:
    """A share of nothing is infinite: RedisMemoryHigh would fire for ever."""

    async def info(_: str) -> Mapping[str, int]:
        return told

    monkeypatch.setattr(client, "info", info)
    assert await measures.memory() == memory
