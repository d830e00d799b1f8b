"""An agent that lives and lacks what it needs to answer is waited for; one that has it, and does not, is not."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from contract.states import SessionState
from orchestrator.services.start import Handed, Starting
from tests.support import late_agent
from tests.support.records import warm_id
from tests.support.servers import wait_until
from tests.support.stack import Backend, Stack

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    # The host's lease is long: a start is not to find the pool closed because the machine is busy.
    lease = {"HOST_LEASE_S": "20", "HOST_LOST_S": "20", "HEARTBEAT_S": "0.5"}
    stack = Stack.create(AGENT="late_agent:make", PREWARM_POOL_SIZE="0", **lease)
    try:
        stack.bring_module(late_agent.__file__)
        stack.start_worker()
        stack.start_host()
        yield stack
    finally:
        stack.stop()


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        yield backend


async def busy(backend: Backend, number: int) -> Path:
    """Its one waiting agent is; until this file is removed."""
    is_busy = backend.container.settings.greenroom_home / "is-busy"
    is_busy.touch()
    session = await backend.warm(warm_id(number))
    assert session.agent_pid is not None
    os.kill(session.agent_pid, signal.SIGUSR1)
    agent = psutil.Process(session.agent_pid)
    wait_until(lambda: agent.status() == psutil.STATUS_RUNNING, what="it is busy")
    return is_busy


async def test_one_that_is_late_is_handed_out(backend: Backend) -> None:
    is_busy = await busy(backend, 1)
    starting = asyncio.create_task(backend.start())
    await asyncio.wait({starting}, timeout=3 * backend.container.settings.ack_timeout_s)
    assert not starting.done()
    is_busy.unlink()
    handed = await starting
    assert isinstance(handed, Handed)
    assert (handed.session_id, handed.dead) == (warm_id(1), 0)


async def test_one_that_stays_busy_is_evicted_in_the_same_request(backend: Backend) -> None:
    await busy(backend, 2)
    starting = await backend.start()
    assert isinstance(starting, Starting)
    assert starting.dead == 1
    evicted = await backend.session(warm_id(2), SessionState.FAILED)
    assert evicted.error_code == "agent_unresponsive"
    assert evicted.agent_pid is not None
    await backend.gone(evicted.agent_pid)
