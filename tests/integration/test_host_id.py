"""Two machines with one HOST_ID: the one that was there first goes on, and the other says what is wrong."""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator

import pytest

from contract.states import SessionState
from orchestrator.services.start import Handed
from tests.support.records import warm_id
from tests.support.servers import wait_until
from tests.support.stack import HOST_ID, Backend, Stack, eventually, is_running, pause, running_stack

pytestmark = pytest.mark.timeout(180)
S = SessionState
LEASE_S = 8


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(aof=True, PREWARM_POOL_SIZE="0", ACK_TIMEOUT_S="1.5", HOST_LEASE_S=str(LEASE_S)) as stack:
        yield stack


@pytest.fixture
def other(stack: Stack) -> Iterator[Stack]:
    """Another machine of the same name."""
    other = stack.beside(HOST_ID)
    yield other
    other.stop()


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    if stack.host.has_ended:
        stack.start_host()
    async with stack.container() as backend:
        yield backend


async def _refused(other: Stack) -> str:
    """What a daemon that is not let in says last."""
    part = other.start("host", "orchestrator.host")
    assert part.wait() == 1
    assert other.agent_pids() == set()
    return other.log("host").splitlines()[-1]


async def test_the_second_one_ends_with_one_line_and_touches_nothing(
    stack: Stack, other: Stack, backend: Backend
) -> None:
    warm, assigned = await backend.warm_and_assigned(1)
    pids = stack.agent_pids()
    before = {i: await backend.store.get(i) for i in (warm, assigned)}

    last = await _refused(other)

    assert last == (
        f"greenroom host: HOST_ID={HOST_ID} is another host daemon's, which is alive and has another GREENROOM_HOME: "
        "give each machine and each container a HOST_ID of its own"
    )
    assert stack.agent_pids() == pids
    assert {i: await backend.store.get(i) for i in (warm, assigned)} == before
    handed = await backend.start("user-2")
    assert isinstance(handed, Handed)
    assert handed.session_id == warm
    await backend.end(warm, assigned)


async def test_one_that_begins_while_redis_is_away_is_told_when_it_is_back(
    stack: Stack, other: Stack, backend: Backend
) -> None:
    warm, assigned = await backend.warm_and_assigned(31)
    before = {i: await backend.store.get(i) for i in (warm, assigned)}
    stack.redis.stop()
    other.start_host(ready=False)
    stack.redis.start()

    assert other.host.wait() == 1
    assert f"HOST_ID={HOST_ID} is another host daemon's" in other.log("host").splitlines()[-1]
    assert {i: await backend.store.get(i) for i in (warm, assigned)} == before
    await backend.end(warm, assigned)


async def test_one_that_was_killed_and_lost_its_folder_waits_for_its_own_lease(
    stack: Stack, other: Stack, backend: Backend
) -> None:
    """A container that died is started again under its name, with nothing of what it had."""
    warm, assigned = await backend.warm_and_assigned(11)
    for process in stack.processes():
        process.kill()
    stack.host.wait()

    other.start_host()

    assert other.log("host").count("its lease is waited for") == 1
    async with other.container() as there:
        assert (await there.spawn(warm_id(13))).ok
        assert (await there.session(warm_id(13), S.READY)).host == HOST_ID
        # Of what ran before it finds that it is gone.
        assert (await there.session(warm, S.FAILED)).error == "its agent process is gone"

        async def lacks_an_agent() -> bool:
            session = await there.store.get(assigned)
            return session is not None and session.agent is None and session.replacements == 1

        await eventually(lacks_an_agent, what="the call is to get another agent")
        assert (await there.spawn(assigned)).ok  # no worker runs here
        assert (await there.session(assigned, S.ASSIGNED)).user_id == "user-1"
        await there.end(warm_id(13), assigned)
        await there.local_host.retire()
        other.host.send(signal.SIGTERM)
        assert other.host.wait() == 0


async def test_one_that_was_frozen_until_another_took_its_place_leaves_it(
    stack: Stack, other: Stack, backend: Backend
) -> None:
    session = await backend.warm(warm_id(21))
    assert session.agent_pid is not None
    pause(stack.host.pid)
    other.start_host()

    stack.host.send(signal.SIGCONT)

    assert stack.host.wait() == 1
    assert stack.log("host").splitlines()[-1].startswith(f"greenroom host: HOST_ID={HOST_ID} is another")
    wait_until(lambda: not is_running(session.agent_pid or 0), what="nobody would hear its agents")
    failed = await backend.session(session.session_id, S.FAILED)
    assert failed.error is not None
    async with other.container() as there:
        assert (await there.spawn(warm_id(22))).ok
        assert await backend.pool_has(1) == {warm_id(22)}
        await there.end(warm_id(22))
