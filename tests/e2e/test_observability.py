"""A running system under a real Prometheus and a collector of traces: what operators look at is there, and is true."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.call import calling
from tests.support.otlp import Collector, ReceivedSpan, collector
from tests.support.prometheus import Prometheus
from tests.support.promql import panel_queries, rules, selectors_of
from tests.support.servers import wait_until
from tests.support.system import System, running_system

pytestmark = pytest.mark.timeout(400)

PRICES = '{"offline.tts_characters": 0.0001, "offline.stt_seconds": 0.001}'
SAID = "what time is it"
SEEN_S = 90.0
PONDERED = "tell me a joke"
PONDERING_AGENT = f"""
import asyncio

from livekit.agents import Agent

from agent.assistant import GREETING, INSTRUCTIONS, Assistant


class Pondering(Assistant):
    async def llm_node(self, chat_ctx, tools, model_settings):
        if chat_ctx.messages()[-1].text_content.lower().startswith({PONDERED!r}):
            await asyncio.sleep(1.5)
        async for chunk in Agent.default.llm_node(self, chat_ctx, tools, model_settings):
            yield chunk


def make(assignment):
    return Pondering(instructions=INSTRUCTIONS, greeting=GREETING.format(name=""))
"""
"""An agent as any other, but for one question."""
ONE_TRACE = {
    "POST /api/session/start": "greenroom-api",
    "run/greenroom.spawn_agent": "greenroom-worker",
    "host.spawn": "greenroom-host",
    "host.fork": "greenroom-host",
    "agent.join": "greenroom-agent",
    "host.assign": "greenroom-host",
    "agent.turn": "greenroom-agent",
}
"""The spans of a session that was started with an empty pool, and whose they are."""


@pytest.fixture(scope="module")
def traces() -> Iterator[Collector]:
    with collector() as listening:
        yield listening


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, traces: Collector) -> Iterator[System]:
    settings = {"PRICES": PRICES, "OTEL_EXPORTER_OTLP_ENDPOINT": traces.url}
    folder = tmp_path_factory.mktemp("system")
    (folder / "pondering_agent.py").write_text(PONDERING_AGENT)
    settings |= {"AGENT": "pondering_agent:make", "SPAWN_BREAKER_FAILURES": "2"}
    with running_system(folder, PREWARM_POOL_SIZE="2", POOL_CAP="2", MAX_BOTS="4", **settings) as running:
        running.wait_pool(2)
        yield running


@pytest.fixture(scope="module")
def prometheus(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    started = Prometheus(tmp_path_factory.mktemp("prometheus"), f"127.0.0.1:{system.port}").start()
    yield started
    started.stop()


@pytest.fixture(scope="module")
def session_id(system: System, prometheus: Prometheus) -> str:
    """Three calls that are over; the first one's agent was started for it, and it is this one."""
    system.resize(0)
    first = asyncio.run(_call(system, "user0"))
    system.resize(2)
    for user in ("user1", "user2"):
        asyncio.run(_call(system, user))
        system.wait_pool(2)
    return first


async def _call(system: System, user: str) -> str:
    async with calling(system, user) as call:
        call.post_timeline()
        said, answer = await call.ask(SAID)
        assert (said, answer[:5]) == (SAID, "It is")
    await asyncio.to_thread(system.wait_status, call.session_id, "ended")
    return call.session_id


async def until(look: Callable[[], Any], what: str, timeout_s: float = SEEN_S) -> None:
    await asyncio.to_thread(wait_until, look, timeout_s=timeout_s, what=what, every_s=0.3)


async def test_a_sessions_spans_are_one_trace(system: System, traces: Collector, session_id: str) -> None:
    def found() -> list[ReceivedSpan]:
        return traces.trace_of("host.spawn", session_id)

    def complete() -> bool:
        spans = found()
        known = {span.id for span in spans} | {""}
        return set(ONE_TRACE) <= {span.name for span in spans} and {span.parent for span in spans} <= known

    try:
        await until(complete, "all of its spans came")
    except pytest.fail.Exception:
        pytest.fail("\n".join(f"{span.service} {span.name} {span.id} < {span.parent}" for span in found()))
    spans = found()
    assert {span.name: span.service for span in spans if span.name in ONE_TRACE} == ONE_TRACE
    assert len({span.trace for span in spans}) == 1
    [root] = [span for span in spans if not span.parent]
    assert root.name == "POST /api/session/start"
    assert all(root.began_at - 0.1 <= span.began_at <= span.ended_at for span in spans)
    assert traces.paths == {"/v1/traces"}
    assert not any(SAID in str(span.attributes) for span in spans), "what was said is nobody's but the callers'"


async def test_only_requests_begin_a_trace(traces: Collector, session_id: str) -> None:
    roots = {span.name for span in list(traces.spans) if not span.parent}
    assert "POST /api/session/start" in roots
    assert all(re.match(r"(GET|POST|DELETE) /", name) for name in roots)
    assert not any("/metrics" in name or "/health" in name for name in roots)


async def test_every_panel_has_data(prometheus: Prometheus, session_id: str) -> None:
    left = panel_queries()

    def all_found() -> bool:
        for place, expr in list(left.items()):
            if prometheus.query(expr):
                del left[place]
        return not left

    with contextlib.suppress(pytest.fail.Exception):
        await until(all_found, "every panel")
    assert left == {}


async def test_what_it_shows_is_what_happened(prometheus: Prometheus, system: System, session_id: str) -> None:
    def at_least(expr: str, least: float) -> Callable[[], bool]:
        return lambda: (prometheus.value(expr) or math.nan) >= least

    for expr, least in {
        "voice_latency_seconds_count": 3,
        'voice_stt_duration_seconds_count{provider="offline"}': 3,
        'voice_llm_duration_seconds_count{provider="offline"}': 3,
        'voice_tts_duration_seconds_count{provider="offline"}': 3,
        "voice_session_duration_seconds_count": 3,
        "voice_cost_per_call_usd_count": 3,
        "voice_cost_per_call_usd_sum": 0.003,
        'voice_usage_total{provider="offline",unit="tts_characters"}': 30,
        'voice_usage_total{provider="offline",unit="stt_seconds"}': 1,
        "histogram_quantile(0.95, sum by (le) (voice_latency_seconds_bucket))": 0.1,
        "greenroom_redis_memory_used_bytes": 1,
    }.items():
        await until(at_least(expr, least), f"{expr} is {least} at least, not {prometheus.value(expr)}")
    per_call = float(system.redis().hget(f"session:{session_id}", "costUsd"))
    total = prometheus.value("voice_cost_per_call_usd_sum")
    assert total is not None
    assert 0 < per_call < total


async def test_every_rule_asks_for_what_is_there(prometheus: Prometheus, session_id: str) -> None:
    """An alert that is quiet finds nothing; each metric that it looks at is there, with these labels."""
    asked = {(rule.name, selector) for rule in rules() for selector in selectors_of(rule.expr)}
    # Answers with an error of ours: there has been none, which is what the rule's "or" is for.
    asked = {(name, selector) for name, selector in asked if 'status=~"5.."' not in selector}
    assert {(name, selector) for name, selector in asked if not prometheus.query(selector)} == set()


async def test_nothing_fires_in_a_healthy_system(prometheus: Prometheus, session_id: str) -> None:
    assert [name for name, state in prometheus.alerts().items() if state == "firing"] == []


@contextlib.asynccontextmanager
async def frozen(system: System, program: str) -> AsyncIterator[None]:
    pid = system.pid_of(program)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def waits(prometheus: Prometheus, *names: str) -> Callable[[], bool]:
    """Whether these alerts' conditions hold: they fire when they have for long enough."""
    return lambda: set(names) <= prometheus.alerts().keys()


async def test_capacity_that_is_used_up(prometheus: Prometheus, system: System, session_id: str) -> None:
    started = [system.start_session(f"c{number}")["sessionId"] for number in range(4)]
    await until(waits(prometheus, "CapacityHigh"), "CapacityHigh")
    for each in started:
        system.end(each)
    await until(lambda: not waits(prometheus, "CapacityHigh")(), "room again")


async def test_a_worker_that_stands_still(prometheus: Prometheus, system: System, session_id: str) -> None:
    await asyncio.to_thread(system.wait_pool, 2)
    async with frozen(system, "worker"):
        # Two find an agent; of the others' spawns it has taken one out of the queue at most.
        started = [system.start_session(f"w{number}")["sessionId"] for number in range(4)]
        await until(waits(prometheus, "QueueGrowing"), "QueueGrowing")
        assert (prometheus.value("greenroom_refill_lag_seconds") or 0) > 8, "what BeatLate looks at"
    for each in started:
        system.end(each)
    await until(lambda: not waits(prometheus, "QueueGrowing")(), "nobody waits")


async def test_an_api_and_a_redis_that_do_not_answer(prometheus: Prometheus, system: System, session_id: str) -> None:
    async with frozen(system, "api"):
        await until(waits(prometheus, "ApiDown"), "ApiDown")
    await until(lambda: prometheus.value('up{job="greenroom"}') == 1, "the API is back")
    refused = waits(prometheus, "StoreAway", "StartErrorBudgetFast", "StartErrorBudgetSlow")

    def is_refused() -> bool:
        assert system.start_session()["code"] == "store_unavailable"
        return refused()

    async with frozen(system, "redis"):
        await until(is_refused, "StoreAway, and the budgets of errors used up")
    await until(lambda: not waits(prometheus, "StoreAway")(), "Redis is back")
    await asyncio.to_thread(system.wait_healthy)


async def test_a_redis_that_is_nearly_full(prometheus: Prometheus, system: System, session_id: str) -> None:
    redis = system.redis()
    redis.config_set("maxmemory", int(redis.info("memory")["used_memory"] * 1.1))
    try:
        await until(waits(prometheus, "RedisMemoryHigh"), "RedisMemoryHigh")
    finally:
        redis.config_set("maxmemory", 0)
    await until(lambda: not waits(prometheus, "RedisMemoryHigh")(), "it may grow again")


async def test_a_redis_that_is_slow(prometheus: Prometheus, system: System, session_id: str) -> None:
    await asyncio.to_thread(system.wait_pool, 2)
    system.redis().execute_command("CLIENT", "PAUSE", 300, "ALL")
    started = await asyncio.to_thread(system.start_session, "slow")
    assert started["status"] == "ready"
    await until(waits(prometheus, "StartSlow"), "StartSlow")
    system.end(started["sessionId"])


async def test_a_pool_that_is_too_small(prometheus: Prometheus, system: System, session_id: str) -> None:
    system.resize(0)

    def nobody_waited_for_them() -> bool:
        system.end(system.start_session("cold")["sessionId"])
        return waits(prometheus, "WarmHitRateLow")()

    await until(nobody_waited_for_them, "WarmHitRateLow")
    system.resize(2)


async def test_an_answer_that_is_thought_about(prometheus: Prometheus, system: System, session_id: str) -> None:
    await asyncio.to_thread(system.wait_pool, 2)
    async with calling(system, "patient") as call:
        said, _ = await call.ask(PONDERED)
        assert said == PONDERED
    await until(waits(prometheus, "VoiceSlow"), "VoiceSlow")


async def test_spawns_that_keep_failing(prometheus: Prometheus, system: System, session_id: str) -> None:
    await asyncio.to_thread(system.wait_pool, 2)
    async with frozen(system, "zygote"):
        started = [system.start_session(f"s{number}")["sessionId"] for number in range(2)]
        await until(waits(prometheus, "SpawnFailures"), "SpawnFailures")
    for each in started:
        system.end(each)
    await until(lambda: prometheus.value("max(greenroom_spawn_breaker_state)") == 0, "agents are started again")
    await asyncio.to_thread(system.wait_pool, 2)


async def test_a_host_that_is_gone(prometheus: Prometheus, system: System, session_id: str) -> None:
    await asyncio.to_thread(system.wait_pool, 2)
    async with frozen(system, "host"):
        await until(waits(prometheus, "HostLost", "PoolEmpty"), "HostLost and PoolEmpty")
        await until(lambda: prometheus.alerts().get("HostLost") == "firing", "it has lasted")
    await until(lambda: not prometheus.alerts().keys() & {"HostLost", "PoolEmpty"}, "all is well again")


LINE = {"timestamp": str, "level": str, "logger": str, "event": str, "program": str, "host": str}
LEVELS = {"debug", "info", "warning", "error", "critical"}


async def test_every_programs_lines_are_of_one_schema(system: System, traces: Collector, session_id: str) -> None:
    agents = "\n".join(path.read_text() for path in sorted((system.home / "host" / "logs").glob("*.log")))
    ours = [
        line for line in map(_object, system.log.splitlines()) if "event" in line and "msg" not in line
    ]  # LiveKit's
    ours += filter(None, map(_object, agents.splitlines()))  # what a library in C prints is no object
    for line in ours:
        assert {name: type(line.get(name)) for name in LINE} == LINE, line
        assert line["level"] in LEVELS, line
        assert datetime.fromisoformat(line["timestamp"]).utcoffset() is not None
    assert {line["program"] for line in ours} >= {"api", "worker", "host", "agent"}
    [trace] = {span.trace for span in traces.trace_of("host.spawn", session_id)}
    of_session = {line["program"] for line in ours if line.get("session_id") == session_id}
    assert of_session >= {"api", "host", "agent"}
    assert {line["program"] for line in ours if line.get("trace_id") == trace} >= {"api", "agent"}
    assert "[masked]" not in agents
    assert system.secret("LIVEKIT_API_SECRET") not in system.log + agents


def _object(line: str) -> dict[str, Any]:
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        if isinstance(found, dict):
            return found
    return {}


def test_prometheus_had_nothing_to_complain_of(prometheus: Prometheus) -> None:
    log = (Path(prometheus.folder) / "prometheus.log").read_text()
    assert "err=" not in log, log[-2000:]
