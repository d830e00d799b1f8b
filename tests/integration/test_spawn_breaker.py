"""Spawns that keep failing stop by themselves, say why, and go on by themselves. Real worker, host and LiveKit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from livekit import api

from contract.states import SessionState
from orchestrator.domain.errors import AgentsUnavailableError
from orchestrator.services.health import Report
from orchestrator.services.start import Handed
from tests.support.stack import Backend, Stack, eventually, running_stack

pytestmark = pytest.mark.timeout(180)
TARGET = 3
FAILURES = 4


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = {"PREWARM_POOL_SIZE": str(TARGET), "MAX_BOTS": "8", "ACK_TIMEOUT_S": "1.5"}
    settings |= {"SPAWN_BREAKER_FAILURES": str(FAILURES), "SPAWN_BREAKER_MAX_OPEN_S": "2"}
    with running_stack(worker=True, **settings) as stack:
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        await full(backend)
        yield backend
        live = await backend.store.page([SessionState.STARTING, SessionState.ASSIGNED, SessionState.ACTIVE], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))
        await backend.container.pool.resize(TARGET)
        await full(backend)


async def full(backend: Backend, size: int = TARGET) -> None:
    """The pool has its size, nothing is under way, and spawns are tried. Nobody asks for a refill."""

    async def look() -> bool:
        counts = await backend.store.counts(TARGET)
        closed = (await backend.store.snapshot()).kinds["default"].may_begin is None
        return closed and counts.pool_ready == size and counts.spawning == counts.waiting == 0

    await eventually(look, what="a full pool, by itself")


async def all_in_their_rooms(backend: Backend) -> None:
    """A LiveKit that came back waits for agents that dial again every few seconds; one of them refuses until then."""

    async def look() -> bool:
        waiting = await backend.pool()
        rooms = [await backend.participants(name) for name in waiting if await backend.room(name) is not None]
        states = [participant.state for room in rooms for participant in room]
        return len(states) == len(waiting) and set(states) == {api.ParticipantInfo.State.ACTIVE}

    await eventually(look, what="every waiting agent is in its room", timeout_s=60)


async def degraded(backend: Backend) -> Report:
    async def look() -> Report | None:
        report = await backend.container.health.report()
        return None if report.spawns.ok else report

    return await eventually(look, what="health says that spawns fail")


async def tries(backend: Backend) -> int:
    return sum((await backend.store.spawn_stats()).failures.values())


async def opened(backend: Backend, times: int) -> None:
    async def look() -> bool:
        view = await backend.container.breakers.look("default")
        return view.breaker.opened >= times

    await eventually(look, what=f"it opened {times} times in a row")


async def refusal(backend: Backend) -> AgentsUnavailableError | None:
    """Half-open, a user's start may be the try."""
    try:
        await backend.start("user-refused")
    except AgentsUnavailableError as error:
        return error
    return None


def said(stack: Stack, words: str) -> int:
    return stack.log("worker").count(words)


async def test_livekit_stopped_and_started_again(backend: Backend, stack: Stack) -> None:
    before = await tries(backend)
    stack.livekit.stop()
    await backend.container.pool.resize(TARGET + 2)

    await opened(backend, 3)

    report = await degraded(backend)
    assert report.status == "unhealthy", "LiveKit is away as well"
    assert "livekit_unavailable" in report.spawns.detail
    # Those that were begun at once, and one for each time that it was half-open: not three for each agent that lacks.
    opened_times = (await backend.container.breakers.look("default")).breaker.opened
    most = FAILURES + backend.container.limits.spawn_concurrency + opened_times
    assert FAILURES <= await tries(backend) - before <= most
    stack.livekit.start()
    await full(backend, TARGET + 2)
    await all_in_their_rooms(backend)
    assert said(stack, "agents can be started again") == 1


async def test_a_broken_agent_module_while_a_call_goes_on(backend: Backend, stack: Stack) -> None:
    call = await backend.start("user-in-a-call")
    assert isinstance(call, Handed)
    await backend.container.queue.refill()
    talking = await backend.session(call.session_id, SessionState.ASSIGNED)
    await full(backend)
    stack.host.stop()
    stack.start_host(ready=False, AGENT="no_such_module:make")
    stack.wait_zygote("failed")
    try:
        await backend.host_answers()
        handed = [await backend.start(f"user-{n}") for n in range(TARGET)]
        assert all(isinstance(one, Handed) for one in handed), "those that wait are handed out"
        await backend.container.queue.refill()
        await opened(backend, 2)

        refused = await eventually(lambda: refusal(backend), what="a start is refused")
        assert refused.detail == AgentsUnavailableError().detail, "why is for operators"
        assert refused.retry_after_s in (1, 2)
        spawns = (await degraded(backend)).spawns
        assert "No module named 'no_such_module'" in spawns.detail
        assert spawns.for_anybody.detail.endswith("): zygote_unavailable")
        told = said(stack, "spawns keep failing")
        assert told >= 2
        failures = await tries(backend)
        await opened(backend, 4)
        assert await tries(backend) - failures <= said(stack, "spawns keep failing") - told + 1, "one a time"
        still = await backend.session(call.session_id, SessionState.ASSIGNED)
        assert still.agent_pid == talking.agent_pid
        assert len(await backend.participants(call.session_id)) == 1
    finally:
        await asyncio.to_thread(stack.host.stop)
        stack.start_host()
    await full(backend)
