"""Each part dies during a conversation; the caller hears nothing of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time

import httpx
import psutil
import pytest

from agent.conversation import RESUMED_LINE
from agent.voices.script import JOKES
from tests.support.call import ANSWER_S, Call, calling
from tests.support.servers import wait_until
from tests.support.system import System

HEALTHY_AGAIN_S = 15.0


async def answers_the_time(call: Call) -> None:
    said, answer = await call.ask("what time is it")
    assert said == "what time is it"
    assert answer.startswith("It is")


@pytest.mark.parametrize("part", ["api", "worker", "beat", "zygote", "host"])
async def test_a_killed_part_is_replaced_and_the_call_goes_on(system: System, part: str) -> None:
    async with calling(system) as call:
        pid = call.agent_pid
        killed = system.kill(part)
        await answers_the_time(call)
        await asyncio.to_thread(system.wait_healthy, HEALTHY_AGAIN_S)
        assert call.agent_pid == pid
        await asyncio.to_thread(wait_until, lambda: _new_pid(system, part, killed), what=f"a new {part}")
        await answers_the_time(call)
    await asyncio.to_thread(system.wait_pool, 3)
    async with calling(system) as call:
        await answers_the_time(call)


def _new_pid(system: System, part: str, old: int) -> bool:
    with contextlib.suppress(LookupError):
        return system.pid_of(part) != old
    return False


async def test_redis_is_killed_and_comes_back_from_its_append_only_file(system: System) -> None:
    async with calling(system) as call:
        pid = call.agent_pid
        system.kill("redis")
        await answers_the_time(call)
        await asyncio.to_thread(system.wait_healthy, HEALTHY_AGAIN_S)
        assert system.wait_status(call.session_id, "active")["agentPid"] == pid
        await answers_the_time(call)
    await asyncio.to_thread(system.wait_pool, 3)


async def test_redis_is_out_of_memory_until_beat_has_died_of_it(system: System) -> None:
    async with calling(system) as call:
        pid, store, beat = call.agent_pid, system.redis(), system.pid_of("beat")
        waited = system.log.count("waits for Redis")
        store.config_set("maxmemory", "1")
        try:
            await asyncio.to_thread(wait_until, lambda: system.log.count("waits for Redis") > waited, what="one waits")
            await answers_the_time(call)
        finally:
            store.config_set("maxmemory", "0")
        await asyncio.to_thread(wait_until, lambda: _new_pid(system, "beat", beat), what="a new beat")
        await asyncio.to_thread(system.wait_healthy, HEALTHY_AGAIN_S)
        assert system.wait_status(call.session_id, "active")["agentPid"] == pid
        await answers_the_time(call)
    await asyncio.to_thread(system.wait_pool, 3)


@pytest.mark.alone
async def test_redis_stands_still_for_ten_seconds(system: System) -> None:
    async with calling(system) as call:
        pid, redis_pid = call.agent_pid, system.pid_of("redis")
        os.kill(redis_pid, signal.SIGSTOP)
        try:
            until = time.monotonic() + 10
            refused = await asyncio.to_thread(_refused, system)
            await answers_the_time(call)
            await asyncio.sleep(max(0.0, until - time.monotonic()))
        finally:
            os.kill(redis_pid, signal.SIGCONT)
        assert refused.status_code == 503
        assert refused.json()["code"] == "store_unavailable"
        assert refused.headers["Retry-After"]
        await asyncio.to_thread(system.wait_healthy, HEALTHY_AGAIN_S)
        assert system.wait_status(call.session_id, "active")["agentPid"] == pid
        await answers_the_time(call)
    await asyncio.to_thread(system.wait_pool, 3)


def _refused(system: System) -> httpx.Response:
    with system.client() as client:
        return client.post("/api/session/start", json={"userId": "bob"}, timeout=2.5)


async def test_redis_comes_back_empty(system: System) -> None:
    async with calling(system) as call:
        pid = call.agent_pid
        system.redis().flushall()
        session = await asyncio.to_thread(system.wait_status, call.session_id, "active")
        assert session["agentPid"] == pid
        assert session["userId"] == "ann"
        await answers_the_time(call)
    await asyncio.to_thread(system.wait_pool, 3)


def test_a_killed_warm_agent_leaves_the_pool_and_is_replaced(system: System) -> None:
    for size in (0, 3):  # of an agent that an earlier daemon forked no exit status is known: have fresh ones
        system.resize(size)
    store = system.redis()
    session_id = next(iter(store.smembers("pool:ready")))
    pid = int(store.hget(f"session:{session_id}", "agentPid") or 0)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not store.sismember("pool:ready", session_id), timeout_s=5, what="it is out of the pool")
    wait_until(lambda: store.scard("pool:ready") == 3, timeout_s=10, what="it is replaced")
    session = system.session(session_id)
    assert session["status"] == "failed"
    assert "SIGKILL" in session["error"]
    wait_until(lambda: not psutil.pid_exists(pid), what="it is reaped, no zombie")


@pytest.mark.alone
async def test_an_agent_killed_in_a_call_is_replaced_and_the_conversation_goes_on(system: System) -> None:
    async with calling(system) as call:
        _, answer, _ = await call.say("tell me a joke")
        assert answer == JOKES[0]
        pid = call.agent_pid
        heard = len(call.spoken_by_agent())
        killed_at = time.monotonic()

        os.kill(pid, signal.SIGKILL)

        await call.caller.answer_to(killed_at, ANSWER_S)
        await call.caller.quiet(ANSWER_S)
        assert [line.strip() for line in call.spoken_by_agent()[heard:]] == [RESUMED_LINE]
        session = system.session(call.session_id)
        assert (session["status"], session["userId"]) == ("active", "ann")
        assert session["agentPid"] not in (None, pid)
        _, answer, _ = await call.say("tell me another joke")
        assert answer == JOKES[1], "it knows which one was told"
        assert system.redis().hget(f"session:{call.session_id}", "replacements") == "1"
    text = await asyncio.to_thread(_metrics, system)
    assert 'greenroom_replacements_total{reason="agent_died"} 1.0' in text
    await asyncio.to_thread(system.wait_pool, 3)


def _metrics(system: System) -> str:
    with system.client() as client:
        return client.get("/metrics").text
