"""A real worker keeps the pool: filled, resized, mended, through deaths of its own and of the host."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters import celery_queue as q
from orchestrator.domain.errors import GreenroomError
from orchestrator.services.start import Handed, Starting
from tests.support.records import cold_id, start_request
from tests.support.stack import HOST_ID, Backend, Stack, eventually, pause, running_stack

pytestmark = pytest.mark.timeout(180)
TARGET = 2


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(worker=True, PREWARM_POOL_SIZE=str(TARGET), MAX_BOTS="8", ACK_TIMEOUT_S="1.5") as stack:
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    """Begins and ends with a full pool, and with nothing else."""
    async with stack.container() as backend:
        await settled(backend)
        yield backend
        await backend.container.pool.resize(TARGET)
        live = await backend.store.page([SessionState.STARTING, SessionState.ASSIGNED, SessionState.ACTIVE], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))
        await settled(backend)
        stack.all_reaped()


async def settled(backend: Backend, size: int = TARGET) -> set[str]:
    """The pool has its size and nothing is under way; each agent is a process in its room."""

    async def look() -> set[str] | None:
        counts = await backend.store.counts(TARGET)
        if counts.pool_ready < size:
            await backend.container.pool.trigger()
        done = counts.pool_ready == size and counts.spawning == counts.waiting == counts.warming == 0
        return (await backend.pool()) or {"none"} if done and len(backend.stack.agent_pids()) == counts.agents else None

    return await eventually(look, what=f"a settled pool of {size}") - {"none"}


async def test_the_pool_is_filled_without_anybody_asking(backend: Backend, stack: Stack) -> None:
    """The host says when it can fork: no clock is needed."""
    assert len(stack.agent_pids()) == TARGET
    rooms = [await backend.participants(session_id) for session_id in await backend.pool()]
    assert [len(participants) for participants in rooms] == [1] * TARGET


async def test_a_claim_has_its_place_filled_again(backend: Backend) -> None:
    handed = await backend.start()
    assert isinstance(handed, Handed)
    assert handed.refill
    await backend.container.queue.refill()
    assert handed.session_id not in await settled(backend)


async def test_a_killed_warm_agent_is_replaced(backend: Backend) -> None:
    victim, survivor = sorted(await backend.pool())
    session = await backend.session(victim, SessionState.READY)
    assert session.agent_pid is not None

    os.kill(session.agent_pid, signal.SIGKILL)

    failed = await backend.session(victim, SessionState.FAILED)
    assert failed.error == "the agent process died (SIGKILL)"
    pool = await backend.pool_has(TARGET)
    assert survivor in pool
    assert victim not in pool
    await backend.room_gone(victim)


async def test_a_hung_warm_agent_is_replaced_by_the_health_check(backend: Backend) -> None:
    victim = sorted(await backend.pool())[0]
    session = await backend.session(victim, SessionState.READY)
    assert session.agent_pid is not None
    pause(session.agent_pid)

    assert await backend.container.pool.check_hosts() == [HOST_ID]

    failed = await backend.session(victim, SessionState.FAILED)
    assert failed.error_code == "agent_unresponsive"
    assert victim not in await backend.pool_has(TARGET)
    await backend.gone(session.agent_pid)


async def test_the_pool_is_made_larger_and_smaller(backend: Backend, stack: Stack) -> None:
    assert await backend.container.pool.resize(4) == TARGET
    larger = await settled(backend, 4)
    assert len(larger) == 4

    assert await backend.container.pool.resize(1) == 4
    (left,) = await settled(backend, 1)
    assert left in larger
    assert len(stack.agent_pids()) == 1

    await backend.container.pool.resize(0)
    assert await settled(backend, 0) == set()
    assert stack.agent_pids() == set()


async def test_many_refills_at_once_do_not_over_spawn(backend: Backend, stack: Stack) -> None:
    spawned = (await backend.store.counts(TARGET)).total_spawned
    await backend.store.set_target(5, TARGET)
    await asyncio.gather(*(backend.container.queue.refill() for _ in range(20)))

    await settled(backend, 5)

    assert (await backend.store.counts(TARGET)).total_spawned == spawned + 5 - TARGET
    assert len(stack.agent_pids()) == 5


async def test_an_empty_pool_starts_an_agent_for_the_user(backend: Backend) -> None:
    await backend.container.pool.resize(0)
    await settled(backend, 0)

    outcome = await backend.start("user-cold")

    assert isinstance(outcome, Starting)
    session = await backend.session(outcome.session_id, SessionState.ASSIGNED)
    assert session.user_id == "user-cold"
    assert session.attempts == 1
    assert not session.prewarmed


async def test_the_same_spawn_delivered_twice_is_one_agent(backend: Backend, stack: Stack) -> None:
    session_id = cold_id(1)
    await backend.store.reserve_cold(start_request(), session_id, "task", backend.container.limits)

    await asyncio.gather(*(backend.container.queue.spawn(session_id, urgent=True) for _ in range(4)))

    session = await backend.session(session_id, SessionState.ASSIGNED)
    await settled(backend)
    assert len(await backend.participants(session_id)) == 1
    assert (await backend.session(session_id, SessionState.ASSIGNED)).agent_pid == session.agent_pid


async def test_a_message_to_one_queue_arrives_once(backend: Backend, stack: Stack) -> None:
    """Celery's default binds every queue to one key, which would give each a copy."""
    stack.worker.stop()
    try:
        client = backend.container.client
        before = {name: await client.llen(name) for name in (q.SPAWN_QUEUE, q.REFILL_QUEUE, q.MAINTENANCE_QUEUE)}
        await backend.container.queue.spawn(cold_id(2), urgent=True)
        after = {name: await client.llen(name) for name in before}
        assert {name: after[name] - before[name] for name in before} == {
            q.SPAWN_QUEUE: 1,
            q.REFILL_QUEUE: 0,
            q.MAINTENANCE_QUEUE: 0,
        }
        message = json.loads(await client.lindex(q.SPAWN_QUEUE, 0))
        assert message["headers"]["task"] == q.SPAWN_TASK
        await backend.container.queue.check_host(HOST_ID)
        assert await client.llen(f"host.{HOST_ID}") == 1
    finally:
        stack.start_worker()


async def test_a_worker_child_that_is_killed_in_its_task_does_not_lose_the_spawn(
    backend: Backend, stack: Stack
) -> None:
    session_id = cold_id(3)
    await backend.store.reserve_cold(start_request(), session_id, "task", backend.container.limits)
    pause(stack.zygote_pid())  # the task waits for its fork
    await backend.container.queue.spawn(session_id, urgent=True)

    async def begun() -> bool:
        session = await backend.store.get(session_id)
        return session is not None and session.attempts == 1

    await eventually(begun, what="a worker is at it")
    for child in psutil.Process(stack.worker.pid).children():
        child.send_signal(signal.SIGKILL)
    os.kill(stack.zygote_pid(), signal.SIGCONT)

    session = await backend.session(session_id, SessionState.ASSIGNED)
    await settled(backend)
    assert session.agent_pid in stack.agent_pids()
    assert len(await backend.participants(session_id)) == 1
    # Celery's pool may keep a closed descriptor of a killed child, on which the worker ends when it next connects anew
    # ("file descriptor is None"). supervisord then starts it again; here nobody would.
    stack.worker.stop()
    stack.start_worker()


async def test_a_spawn_is_tried_again_while_its_host_is_away(backend: Backend, stack: Stack) -> None:
    session_id = cold_id(4)
    stack.host.stop()
    await backend.store.reserve_cold(start_request(), session_id, "task", backend.container.limits)
    await backend.container.queue.spawn(session_id, urgent=True)

    async def tried_in_vain() -> bool:
        session = await backend.store.get(session_id)
        return session is not None and session.attempts >= 2

    await eventually(tried_in_vain, what="a second try")
    stack.start_host(ready=False)
    done = await backend.session(session_id, SessionState.ASSIGNED, SessionState.FAILED)
    assert done.state is SessionState.ASSIGNED, done.error
    assert (await backend.store.spawn_stats()).failures["host_unavailable"] >= 1
    stack.wait_zygote("ready")


async def test_three_tries_and_then_a_reason_in_words(backend: Backend, stack: Stack) -> None:
    await backend.container.pool.resize(0)
    await settled(backend, 0)
    stack.host.stop()
    stack.start_host(ready=False, AGENT="no_such_module:make")
    stack.wait_zygote("failed")
    try:
        outcome = await backend.start("user-broken")
        assert isinstance(outcome, Starting)

        failed = await backend.session(outcome.session_id, SessionState.FAILED)

        assert failed.attempts == 3
        assert failed.error_code == "spawn_failed"
        assert "No module named 'no_such_module'" in (failed.error or "")
        stats = await backend.store.spawn_stats()
        assert stats.failures["zygote_unavailable"] >= 3
        await backend.room_gone(outcome.session_id)
        counts = await backend.store.counts(0)
        assert (counts.spawning, counts.waiting) == (0, 0), "nothing is reserved for it any more"
    finally:
        stack.host.stop()
        stack.start_host()


async def test_two_beats_do_no_harm(backend: Backend, stack: Stack) -> None:
    spawned = (await backend.store.counts(TARGET)).total_spawned
    refilled = float(await backend.container.client.get(keys.STATS_LAST_REFILL) or 0)
    for name in ("beat", "other-beat"):
        stack.start_beat(name)
    try:

        async def refilled_again() -> bool:
            return float(await backend.container.client.get(keys.STATS_LAST_REFILL) or 0) > refilled

        # What beat sends at its start is what it sends ever after.
        for _ in range(3):
            await backend.container.queue.refill()
        await eventually(refilled_again, what="a refill")
        await settled(backend)
        assert (await backend.store.counts(TARGET)).total_spawned == spawned
    finally:
        for name in ("beat", "other-beat"):
            stack.parts[name].stop()


async def test_a_restarted_redis_does_not_stop_the_worker(backend: Backend, stack: Stack) -> None:
    """Without its append-only file it comes back empty: the host fills in what lives, the worker what lacks."""
    pids = stack.agent_pids()
    stack.redis.stop()
    stack.redis.start()

    await settled(backend)
    assert stack.agent_pids() == pids

    async def lease_is_fresh() -> bool:
        return any(host.alive for host in await backend.container.hosts.hosts())

    await eventually(lease_is_fresh, what="the host is known again")
    handed = await backend.start()
    assert isinstance(handed, Handed)

    async def filled() -> bool:
        try:
            await backend.container.queue.refill()
        except GreenroomError:
            return False
        return len(await backend.pool()) == TARGET

    await eventually(filled, what="the pool is full again")
