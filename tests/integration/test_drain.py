"""Draining, with real hosts, workers and agents: no call is touched, nothing new begins, and it can be undone."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from contract.states import SessionState
from orchestrator.adapters.local_host import UnixHost
from orchestrator.records import HostView
from orchestrator.services.start import Handed, Starting
from tests.support.records import warm_id
from tests.support.servers import wait_until
from tests.support.stack import HOST_ID, Backend, PartProgram, Stack, eventually, is_running, running_stack

pytestmark = pytest.mark.timeout(180)
TARGET = 2
OTHER = "another-host"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(worker=True, PREWARM_POOL_SIZE=str(TARGET), MAX_BOTS="8", ACK_TIMEOUT_S="1.5") as stack:
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        await backend.pool_has(TARGET)
        yield backend
        if stack.host.has_ended:
            stack.start_host()
        await backend.container.drain.undrain(HOST_ID)
        live = await backend.store.page([SessionState.STARTING, SessionState.ASSIGNED, SessionState.ACTIVE], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))
        await _refilled(backend)
        stack.all_reaped()


async def _refilled(backend: Backend) -> set[str]:
    async def look() -> set[str] | None:
        await backend.container.pool.trigger()
        pool, view = await backend.pool(), await _view(backend)
        return pool if len(pool) == TARGET and view is not None and view.alive else None

    return await eventually(look, what="a full pool that is handed out")


async def _view(backend: Backend, host: str = HOST_ID) -> HostView | None:
    return next((view for view in await backend.container.hosts.hosts() if view.host == host), None)


async def _call(backend: Backend, user: str = "ada") -> tuple[str, int]:
    """A session and the PID of its agent, which a user has claimed."""
    handed = await backend.start(user)
    assert isinstance(handed, Handed)
    session = await backend.session(handed.session_id, SessionState.ASSIGNED)
    assert session.agent_pid is not None
    return session.session_id, session.agent_pid


async def _only_runs(stack: Stack, *pids: int) -> None:
    async def look() -> bool:
        return stack.agent_pids() == {*pids}

    await eventually(look, what=f"of all agents only {pids} are left")


async def _drained(backend: Backend) -> None:
    async def look() -> bool:
        view = await _view(backend)
        return view is not None and view.drained

    await eventually(look, what="the host is drained")


async def _refuses(backend: Backend, number: int) -> None:
    """The daemon itself refuses spawns, too."""

    async def look() -> bool:
        outcome = await backend.spawn(warm_id(number))
        return outcome.code == "host_draining"

    await eventually(look, what="the host refuses spawns")
    await backend.container.rooms.delete(warm_id(number))


async def test_a_call_goes_on_while_its_host_drains_and_then_it_comes_back(backend: Backend, stack: Stack) -> None:
    call, pid = await _call(backend)

    view = await backend.container.drain.drain(HOST_ID)

    assert (view.alive, view.draining, view.drained) == (True, True, False)
    assert await backend.pool() == set()
    await _only_runs(stack, pid)
    await backend.session(call, SessionState.ASSIGNED)
    await _refuses(backend, 1)
    assert not (await backend.container.health.report()).parts["hosts"].ok

    waiting = await backend.start("eve")
    assert isinstance(waiting, Starting)
    session = await backend.session(waiting.session_id, SessionState.STARTING)
    assert (session.queue_position, session.attempts) == (1, 0)
    assert len((await backend.store.snapshot()).waiting) == 1, "it waits, and is not tried in vain"
    assert is_running(pid)

    await backend.end(call)
    await _drained(backend)
    assert stack.agent_pids() == set()
    wait_until(lambda: "host is drained" in stack.log("host"), what="the host says that it is drained")

    await backend.container.drain.undrain(HOST_ID)
    await backend.session(waiting.session_id, SessionState.ASSIGNED)
    await _refilled(backend)


async def test_it_drains_also_when_it_was_away_and_when_it_starts_again(backend: Backend, stack: Stack) -> None:
    call, pid = await _call(backend)
    stack.host.kill()
    await backend.container.drain.drain(HOST_ID)
    assert await backend.pool() == set()

    for _ in range(2):
        stack.start_host()
        await _refuses(backend, 2)
        await _only_runs(stack, pid)
        stack.host.stop()
    assert is_running(pid), "a SIGTERM leaves the agents to the next daemon"
    stack.start_host()
    await backend.session(call, SessionState.ASSIGNED)


async def test_it_drains_on_when_redis_comes_back_empty(backend: Backend, stack: Stack) -> None:
    call, pid = await _call(backend)
    await backend.container.drain.drain(HOST_ID)
    await _only_runs(stack, pid)

    async def drains_again() -> bool:
        view = await _view(backend)
        return view is not None and view.draining

    for _ in range(2):
        await backend.container.client.flushall()
        await eventually(drains_again, what="the store knows of the drain again")
        # A refill of before that, when no host was known, may have begun some: the host refuses them.
        begun = {spawn.session_id for spawn in (await backend.store.snapshot()).spawning}
        await backend.container.pool.refill()
        assert {spawn.session_id for spawn in (await backend.store.snapshot()).spawning} <= begun
        await _refuses(backend, 4)
        stack.host.stop()
        stack.start_host()
    assert stack.agent_pids() == {pid}
    await backend.session(call, SessionState.ASSIGNED)


async def test_when_its_time_is_up_calls_are_ended_with_that_reason(backend: Backend, stack: Stack) -> None:
    stack.host.stop()
    stack.start_host(DRAIN_TIMEOUT_S="0.5")
    await _refilled(backend)
    call, _ = await _call(backend)

    await backend.container.drain.drain(HOST_ID)

    ended = await backend.session(call, SessionState.ENDED)
    assert ended.end_reason == "its host was drained, and DRAIN_TIMEOUT_S (0.5 s) was over"
    await _drained(backend)
    await backend.room_gone(call)
    stack.host.stop()


# --- a machine that is being stopped -------------------------------------------------------------------


@pytest.mark.parametrize("told", ["by the environment", "by an option"])
async def test_a_stop_waits_for_the_call(backend: Backend, stack: Stack, told: str) -> None:
    stack.host.stop()
    if told == "by the environment":
        stack.start_host(ready=False, DRAIN_ON_TERM="true")
    else:
        stack.start("host", "orchestrator.host", "--drain-on-term")
    await _refilled(backend)
    call, pid = await _call(backend)

    stack.host.send(signal.SIGTERM)

    await _only_runs(stack, pid)
    await _refuses(backend, 3)
    view = await _view(backend)
    assert view is not None
    assert (view.alive, view.draining, view.drained) == (True, True, False)
    assert await backend.pool() == set()
    await backend.session(call, SessionState.ASSIGNED)

    await backend.end(call)
    assert stack.host.wait() == 0
    assert stack.agent_pids() == set()
    view = await _view(backend)
    assert view is not None
    assert (view.alive, view.drained) == (False, True)

    stack.start_host()  # the next start is a new beginning
    await _refilled(backend)
    view = await _view(backend)
    assert view is not None
    assert not view.draining


async def test_a_second_signal_ends_at_once(backend: Backend, stack: Stack) -> None:
    stack.host.stop()
    stack.start_host(DRAIN_ON_TERM="true")
    await _refilled(backend)
    call, pid = await _call(backend)
    stack.host.send(signal.SIGTERM)
    await _only_runs(stack, pid)
    assert stack.host.process is not None
    assert stack.host.process.poll() is None

    stack.host.send(signal.SIGTERM)

    assert stack.host.wait() == 0
    assert stack.agent_pids() == set()
    ended = await backend.session(call, SessionState.ENDED)
    assert ended.end_reason == "the host is stopping"
    assert await backend.room(call) is None


async def test_a_host_that_was_retired_stops_at_once(backend: Backend, stack: Stack) -> None:
    stack.host.stop()
    stack.start_host(DRAIN_ON_TERM="true")
    await backend.local_host.retire()
    stack.host.send(signal.SIGTERM)
    assert stack.host.wait() == 0
    assert stack.agent_pids() == set()


# --- beside another host -------------------------------------------------------------------------------


@contextlib.contextmanager
def _another_machine(stack: Stack) -> Iterator[str]:
    """A second host with a worker of its own; its folder is its GREENROOM_HOME. Nothing of it is left."""
    home = stack.folder / "home2"
    own = {**stack.environment(HOST_ID=OTHER, GREENROOM_HOME=str(home))}
    worker = ["celery", "-A", "orchestrator.tasks:app", "worker", "--without-gossip", "--without-mingle"]
    argvs = {"host2": ["orchestrator.host"], "worker2": [*worker, "--loglevel=warning"]}
    parts = [
        PartProgram([sys.executable, "-m", *argv], stack.folder / f"{name}.log", environment=own).start()
        for name, argv in argvs.items()
    ]
    socket = home / "host" / "host.sock"
    try:
        wait_until(socket.exists, timeout_s=60, what="the other host listens")
        yield str(socket)
    finally:
        parts[1].stop()
        parts[0].send(signal.SIGTERM)
        parts[0].wait()
        left = [p for p in psutil.process_iter() if _home_of(p) == str(home)]
        for process in left:
            process.kill()
    assert left == []


def _home_of(process: psutil.Process) -> str | None:
    with contextlib.suppress(psutil.Error):
        return process.environ().get("GREENROOM_HOME")
    return None


async def test_another_host_fills_the_pool(backend: Backend, stack: Stack) -> None:
    call, pid = await _call(backend)
    with _another_machine(stack) as socket:

        async def both_are_there() -> bool:
            return {view.host for view in await backend.container.hosts.hosts() if view.alive} == {HOST_ID, OTHER}

        await eventually(both_are_there, what="two hosts")
        await backend.container.drain.drain(HOST_ID)

        async def elsewhere() -> bool:
            hosts = [await backend.session(i, *SessionState) for i in await backend.pool()]
            return [session.host for session in hosts] == [OTHER] * TARGET

        await eventually(elsewhere, what="the pool is full of the other host's agents")
        await _only_runs(stack, pid)
        await backend.session(call, SessionState.ASSIGNED)

        # More than wait: the rest is started over there, whichever worker hears of it first.
        sessions = [await backend.start(f"user-{i}") for i in range(TARGET + 2)]
        for started in sessions:
            session = await backend.session(started.session_id, SessionState.ASSIGNED)
            assert session.host == OTHER
            assert session.attempts <= 1, "what a draining host gave back costs no try"
        assert (await backend.store.spawn_stats()).failures == {}
        await backend.container.pool.resize(0)
        await backend.end(*(started.session_id for started in sessions))

        async def nothing_is_left() -> bool:
            await backend.container.pool.trigger()
            counts = await backend.store.counts(0)
            return counts.pool_ready == counts.spawning == 0 and stack.agent_pids() == {pid}

        await eventually(nothing_is_left, what="an empty pool")
        await UnixHost(Path(socket)).retire()
    await backend.container.client.srem("hosts", OTHER)
    await backend.container.client.delete(f"host:{OTHER}")
    await backend.container.client.delete("pool:target")
