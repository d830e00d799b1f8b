"""A real host that has no memory left: callers wait in their place or are refused, and go on when there is some."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from contract.messages import Spawn
from contract.states import SessionState
from orchestrator.domain.errors import AtCapacityError
from orchestrator.services.start import Starting
from tests.support.records import warm_id
from tests.support.stack import HOST_ID, Backend, Stack, eventually, running_stack

pytestmark = pytest.mark.timeout(180)
EVERYTHING_MIB = str(2**30)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(worker=True, PREWARM_POOL_SIZE="0", MAX_BOTS="8", MAX_QUEUE="1") as stack:
        yield stack


async def _is_full(backend: Backend) -> None:
    async def look() -> bool:
        views = await backend.container.hosts.hosts()
        return any(view.alive and view.fields["capacity"] == "0" for view in views)

    await eventually(look, what="the host says that it has no room")


def _start_host_again(stack: Stack, **settings: str) -> None:
    stack.host.send(signal.SIGTERM)
    stack.host.wait()
    stack.start_host(**settings)


async def test_without_memory_nobody_is_started_and_then_who_waited_is(stack: Stack) -> None:
    async with stack.container() as backend:
        _start_host_again(stack, MEMORY_RESERVE_MB=EVERYTHING_MIB)
        await _is_full(backend)
        [view] = await backend.container.hosts.hosts()
        assert view.fields["capacity_limit"] == "memory"
        assert f"{EVERYTHING_MIB} MiB in reserve" in view.fields["capacity_reason"]

        waits = await backend.start()
        assert isinstance(waits, Starting)
        assert waits.position == 1
        with pytest.raises(AtCapacityError):
            await backend.start("another")
        assert await backend.rooms_left() == [], "nobody asked LiveKit for anything"
        await backend.container.pool.refill()
        assert (await backend.store.counts(0)).waiting == 1
        assert stack.agent_pids() == set()

        _start_host_again(stack)
        await backend.session(waits.session_id, SessionState.ASSIGNED)
        await backend.end(waits.session_id)


async def test_the_host_itself_sends_a_spawn_back(stack: Stack) -> None:
    async with stack.container() as backend:
        _start_host_again(stack, MEMORY_RESERVE_MB=EVERYTHING_MIB)
        refused = await backend.local_host.spawn(Spawn(session_id=warm_id(1), requested_at=1.0, timeout_s=20))
        assert (refused.ok, refused.code) == (False, "host_full")
        assert refused.reason is not None
        assert "memory: " in refused.reason
        call = Spawn(session_id=warm_id(2), requested_at=1.0, timeout_s=20, in_call=True)
        await backend.container.rooms.create(warm_id(2))
        assert (await backend.local_host.spawn(call)).ok, "a call goes on"
        await backend.container.store.finish(warm_id(2), SessionState.ENDED, "the test is over")
        await backend.room_gone(warm_id(2))
        assert stack.heartbeat()["host"] == HOST_ID
