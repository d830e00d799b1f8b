"""Redis fails over to its replica, and of two beats the leading one dies: calls and the pool go on."""

from __future__ import annotations

import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from orchestrator.domain.errors import GreenroomError
from orchestrator.services.start import Handed
from tests.support.sentinel import Watched, watched_redis
from tests.support.session_call import calling
from tests.support.stack import Backend, Stack, eventually, running_stack

pytestmark = pytest.mark.timeout(240)
TARGET = 2
LOCK, SCHEDULE = "redbeat::lock", "redbeat::schedule"


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with tempfile.TemporaryDirectory(prefix="greenroom-") as folder, watched_redis(Path(folder)) as running:
        yield running


@pytest.fixture(scope="module")
def stack(watched: Watched) -> Iterator[Stack]:
    # The longest wait for another master is below what makes a silent host a lost one.
    settings = {"REDIS_URL": watched.url, "PREWARM_POOL_SIZE": str(TARGET), "ACK_TIMEOUT_S": "1.5"}
    with running_stack(worker=True, **settings) as stack:  # type: ignore[arg-type]
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        await backend.pool_has(TARGET)
        yield backend


async def leads(backend: Backend, stack: Stack, *names: str) -> str:
    """Which of these beats: its token. One that does not run is started, as supervisord does."""

    async def look() -> str | None:
        for name in names:
            process = stack.parts[name].process if name in stack.parts else None
            if process is None or process.poll() is not None:
                stack.start_beat(name)
        return await backend.container.client.get(LOCK)  # type: ignore[return-value]

    return await eventually(look, what="a beat leads")  # type: ignore[arg-type]


async def test_where_the_leading_beat_dies_the_other_one_leads(backend: Backend, stack: Stack) -> None:
    client = backend.container.client
    first = await leads(backend, stack, "beat")
    assert await leads(backend, stack, "beat", "other-beat") == first
    stack.parts["beat"].kill()
    stack.parts["beat"].wait()

    async def another() -> bool:
        token = await client.get(LOCK)
        return token is not None and token != first

    async def ticks() -> bool:
        return float(await client.zscore(SCHEDULE, "redbeat:roll-out") or 0) > due

    await eventually(another, timeout_s=40, what="another beat leads")
    due = float(await client.zscore(SCHEDULE, "redbeat:roll-out") or 0)
    await eventually(ticks, what="it sends tasks")


async def test_a_call_and_the_pool_outlive_a_fail_over(backend: Backend, stack: Stack, watched: Watched) -> None:
    async with calling(backend) as call:
        before = await call.session()
        await backend.pool_has(TARGET)
        watched.replica_is_in_step()
        master = watched.master
        master.stop(signal.SIGKILL)
        assert await call.asks("tell me a joke")

        async def there_is_another() -> bool:
            return watched.master is not master

        await eventually(there_is_another, timeout_s=40, what="the replica is the master")

        async def is_known() -> bool:
            try:
                session = await backend.store.get(call.session_id)
            except GreenroomError:
                return False
            return session is not None and (session.agent, session.fence) == (before.agent, before.fence)

        await eventually(is_known, timeout_s=40, what="the new master knows the call")
        assert await call.asks("tell me another joke")

    async def handed() -> bool:
        try:
            return isinstance(await backend.start("bob"), Handed)
        except GreenroomError:
            return False

    await eventually(handed, timeout_s=40, what="agents are handed out again")

    async def filled() -> bool:
        try:
            return len(await backend.pool()) == TARGET
        except GreenroomError:
            return False

    await eventually(filled, timeout_s=60, what="the worker fills the pool from the new master")
    await leads(backend, stack, "beat", "other-beat")
