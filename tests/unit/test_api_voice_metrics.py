"""Calls, queues and Redis's memory in the answer to a scrape."""

from __future__ import annotations

import json
import re

from contract import keys
from contract.measures import Timing, Used
from contract.messages import Measured
from contract.states import SessionState
from orchestrator.domain.prices import Prices
from orchestrator.domain.voice import StoreMemory
from orchestrator.records import AgentIdentity
from tests.support.api import ApiUnderTest, api_under_test

AGENT = AgentIdentity("h1", "boot", 4000, 7)


def value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, f"{name} in {text}"
    return float(found[1])


async def scraped(api: ApiUnderTest) -> str:
    return (await api.client.get("/metrics")).text


async def test_every_series_is_there_before_the_first_call() -> None:
    async with api_under_test() as api:
        text = await scraped(api)
    for name in (
        "voice_agent_active_sessions",
        'voice_latency_seconds_count{kind="default"}',
        'voice_stt_duration_seconds_bucket{kind="default",le="0.8",provider="offline"}',
        'voice_llm_duration_seconds_count{kind="default",provider="offline"}',
        'voice_tts_duration_seconds_count{kind="default",provider="offline"}',
        'voice_session_duration_seconds_count{kind="default"}',
        'voice_cost_per_call_usd_count{kind="default"}',
        'voice_transcription_errors_total{kind="default",provider="offline"}',
        'voice_barge_ins_total{kind="default"}',
        'voice_silence_timeouts_total{kind="default"}',
        'voice_cost_usd_total{kind="default",provider="offline"}',
        'greenroom_queue_lag_seconds{queue="spawn"}',
        'greenroom_queue_length{queue="waiting"}',
    ):
        assert value(text, name) == 0
    assert value(text, "greenroom_agents_max") == 10


async def test_a_call_that_is_over_is_in_it() -> None:
    async with api_under_test() as api:
        [session_id] = await api.warm()
        await api.start()
        store, measures = api.container.store, api.container.measures
        await store.mark_active(session_id)
        assert value(await scraped(api), "voice_agent_active_sessions") == 1
        report = Measured(
            seq=1,
            timings=(
                Timing(of="latency", provider="other", seconds=0.9),
                Timing(of="tts", provider="inworld", seconds=0.1),
            ),
            used=(Used(unit="tts_characters", provider="inworld", amount=1000),),
            barge_ins=1,
        )
        await measures.note(session_id, AGENT, report, Prices())
        await store.finish(session_id, SessionState.ENDED, "the user left")
        await measures.settle([session_id])
        text = await scraped(api)
    expected = {
        'voice_latency_seconds_bucket{kind="default",le="0.8"}': 0,
        'voice_latency_seconds_bucket{kind="default",le="1.0"}': 1,
        'voice_latency_seconds_sum{kind="default"}': 0.9,
        'voice_tts_duration_seconds_bucket{kind="default",le="0.1",provider="inworld"}': 1,
        'voice_usage_total{kind="default",provider="inworld",unit="tts_characters"}': 1000,
        'voice_cost_usd_total{kind="default",provider="inworld"}': 0.01,
        'voice_cost_per_call_usd_bucket{kind="default",le="0.01"}': 1,
        'voice_session_duration_seconds_count{kind="default"}': 1,
        'voice_barge_ins_total{kind="default"}': 1,
        "voice_agent_active_sessions": 0,
    }
    assert {name: value(text, name) for name in expected} == expected
    assert session_id not in text


async def test_how_long_the_oldest_message_has_waited() -> None:
    async with api_under_test() as api:
        client = api.container.client
        now = await api.container.store.now()
        for age_s in (90, 5):  # kombu's order: the newest at the head
            await client.lpush("spawn", json.dumps({"headers": {"greenroom_queued_at": now - age_s}}))
        await client.lpush("maintenance", json.dumps({"headers": {}}), "no message")
        await client.zadd(keys.POOL_WAITING, {"session_00000000": now - 33})
        text = await scraped(api)
        await client.delete(keys.POOL_WAITING)
    assert 90 <= value(text, 'greenroom_queue_lag_seconds{queue="spawn"}') < 120
    assert value(text, 'greenroom_queue_length{queue="spawn"}') == 2
    assert value(text, 'greenroom_queue_length{queue="maintenance"}') == 2
    assert value(text, 'greenroom_queue_lag_seconds{queue="maintenance"}') == 0
    assert 33 <= value(text, 'greenroom_queue_lag_seconds{queue="waiting"}') < 60


async def test_redis_memory_is_told_where_redis_tells_it() -> None:
    async with api_under_test() as api:
        assert "greenroom_redis_memory" not in await scraped(api)

        async def memory() -> StoreMemory:
            return StoreMemory(5, 10)

        api.container.measures.memory = memory  # type: ignore[method-assign]
        text = await scraped(api)
    assert value(text, "greenroom_redis_memory_used_bytes") == 5
    assert value(text, "greenroom_redis_memory_max_bytes") == 10
