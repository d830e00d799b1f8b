"""LiveKit is killed and comes back without any room: nobody is handed an agent that waits in one of those."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from agent.voices.script import GREETING
from contract.states import SessionState
from tests.support.session_call import joined
from tests.support.stack import Backend, Stack, eventually, running_stack

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(worker=True, PREWARM_POOL_SIZE="1", HOST_LEASE_S="20", HOST_LOST_S="20") as stack:
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        yield backend


async def test_a_user_who_comes_after_a_restart_is_talked_to(backend: Backend) -> None:
    async def some() -> bool:
        if not await backend.pool():
            await backend.container.pool.trigger()
        return bool(await backend.pool())

    await eventually(some, what="an agent in the pool")
    before = await backend.pool()
    livekit = backend.stack.livekit
    livekit.stop(signal.SIGKILL)
    livekit.start()

    started = await backend.start("user-x")

    assert started.session_id not in before
    session = await backend.session(started.session_id, SessionState.ASSIGNED)
    async with joined(backend, session.session_id) as call:
        await call.hears(GREETING)
    await backend.end(session.session_id)
