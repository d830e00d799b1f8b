"""LiveKit tells the API of closed rooms: those of calls, and those that Greenroom closes while a user waits."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.domain.session import IN_CALL
from orchestrator.records import Session
from tests.support.records import warm_id
from tests.support.servers import free_port, wait_until
from tests.support.stack import Backend, Stack, eventually, pause, running_stack

pytestmark = pytest.mark.timeout(180)
TOO_SHORT = "0.03"
"""Seconds in which no agent is in its room."""


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {"PREWARM_POOL_SIZE": "0", "MAX_BOTS": "4", "PORT": str(port), "BIND": "127.0.0.1"}
    settings |= {"SPAWN_BREAKER_FAILURES": "2", "SPAWN_BREAKER_MAX_OPEN_S": "1", "ACK_TIMEOUT_S": "1.5"}
    with running_stack(webhook=f"{url}/api/livekit/webhook", **settings) as stack:
        stack.start("api", "orchestrator.api")
        wait_until(lambda: _answers(url), what="the API answers")
        yield stack


def _answers(url: str) -> bool:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(f"{url}/health/live", trust_env=False).is_success
    return False


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        yield backend


async def told(backend: Backend, times: int) -> None:
    """LiveKit has told so often of what the API acts on."""

    async def look() -> bool:
        return int(await backend.container.client.zcard(keys.WEBHOOKS)) >= times

    await eventually(look, what=f"{times} webhooks came")


async def test_a_user_who_waits_keeps_the_place_when_the_room_of_a_failed_spawn_is_closed(
    stack: Stack, backend: Backend
) -> None:
    stack.start_worker(SPAWN_TIMEOUT_S=TOO_SHORT)
    before = int(await backend.container.client.zcard(keys.WEBHOOKS))
    started = await backend.start()

    async def asks() -> Session:
        """As a page does all the time: who does not ask for so long gives up the place."""
        return await backend.container.sessions.get(started.session_id)

    async def is_held() -> bool:
        await asks()
        counts = await backend.store.counts(0)
        return counts.waiting == 1

    async def has_an_agent() -> Session | None:
        await backend.container.pool.trigger()  # as beat does: what the worker before was about to do may be lost
        session = await asks()
        return session if session.state in IN_CALL else None

    await eventually(is_held, what="its spawn is held back")
    await told(backend, before + 1)
    waits = await backend.session(started.session_id, SessionState.STARTING)
    assert (waits.queue_position, waits.end_reason) == (1, None)

    stack.worker.stop()
    stack.start_worker()
    call = await eventually(has_an_agent, what="its user has an agent")
    assert call.agent is not None
    await backend.end(started.session_id)


async def test_a_call_whose_room_is_closed_is_over_though_its_agent_does_not_say_so(
    stack: Stack, backend: Backend
) -> None:
    session = await backend.warm(warm_id(1))
    assert session.agent_pid is not None
    await backend.start()
    pause(session.agent_pid)

    await backend.container.rooms.delete(session.session_id)

    over = await backend.session(session.session_id, SessionState.ENDED)
    assert over.end_reason == "its room was closed"
    await backend.gone(session.agent_pid)


async def test_two_rooms_of_one_name_are_told_apart(backend: Backend) -> None:
    rooms, sids = backend.container.rooms, []
    for _ in range(2):
        await rooms.create(warm_id(2))
        sids.append(await rooms.sid(warm_id(2)))
        await rooms.delete(warm_id(2))
        await backend.room_gone(warm_id(2))
        assert await rooms.sid(warm_id(2)) is None
    assert None not in sids
    assert len(set(sids)) == 2
