"""A machine is frozen with all that runs on it: another one goes on, and the first ends what is no longer its own."""

from __future__ import annotations

import os
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from agent.conversation import RESUMED_LINE
from agent.voices.script import JOKES
from contract.states import SessionState
from tests.support.session_call import another_agent, calling, watching
from tests.support.stack import HOST_ID, Backend, Stack, eventually, pause, running_stack

pytestmark = pytest.mark.timeout(240)
S = SessionState
OTHER = "another-host-of-tests"


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    settings = {"PREWARM_POOL_SIZE": "1", "ACK_TIMEOUT_S": "1.5", "HEARTBEAT_S": "0.5", "HOST_LEASE_S": "4"}
    with running_stack(worker=True, HOST_LOST_S="6", **settings) as stack:
        yield stack


@pytest.fixture
def other(stack: Stack) -> Iterator[Stack]:
    other = stack.beside(OTHER)
    yield other
    other.stop()


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        yield backend


class Frozen:
    """Every process of one machine, stopped as by a frozen kernel; or all but its worker's."""

    def __init__(self, stack: Stack, *, worker: bool = True) -> None:
        own = psutil.Process(stack.worker.pid)
        spared = set() if worker else {own, *own.children(recursive=True)}
        self.processes = [process for process in stack.processes() if process not in spared]
        for process in self.processes:
            pause(process.pid)

    def thaw(self) -> None:
        for process in self.processes:
            if process.is_running() and process.status() == psutil.STATUS_STOPPED:
                os.kill(process.pid, signal.SIGCONT)


async def test_its_calls_go_on_elsewhere_and_it_ends_what_is_not_its_own_any_more(
    stack: Stack, other: Stack, backend: Backend
) -> None:
    async with calling(backend) as call, watching(backend, call.session_id) as watch:
        assert await call.asks("tell me a joke") == JOKES[0]
        before = await call.session()
        assert before.agent is not None
        assert before.host == HOST_ID
        await backend.container.pool.refill()
        [waiting] = await backend.pool_has(1)
        other.start_worker()
        other.start_host()
        other.start_beat()

        frozen = Frozen(stack)
        try:
            await call.hears(RESUMED_LINE)
            after = await another_agent(backend, before)
            assert (after.host, after.replacements, after.state) == (OTHER, 1, S.ACTIVE)
            lost = await backend.session(waiting, S.FAILED)
            assert (lost.error, lost.error_code) == (f"its host {HOST_ID} is lost", "host_lost")
            assert await call.asks("tell me another joke") == JOKES[1]
            assert (await backend.store.spawn_stats()).replacements == {"host_lost": 1}
        finally:
            frozen.thaw()

        await backend.gone(before.agent.pid)
        assert lost.agent is not None
        await backend.gone(lost.agent.pid)
        assert await backend.room(call.session_id) is not None
        assert await call.asks("tell me another joke") == JOKES[2]
        assert (await call.session()).agent == after.agent
        assert (len(watch.sids), watch.most_at_once) == (2, 1), "nobody came back, and nobody spoke with the other"
        assert call.lines.count(RESUMED_LINE) == 1
        await _serves(backend, stack)
    await backend.end(call.session_id)


async def test_the_worker_beside_a_frozen_host_leaves_its_calls_to_others(
    stack: Stack, other: Stack, backend: Backend
) -> None:
    async with calling(backend) as call:
        before = await call.session()
        assert before.host == HOST_ID
        other.start_worker()
        other.start_host()
        other.start_beat()

        frozen = Frozen(stack, worker=False)
        try:
            await call.hears(RESUMED_LINE)
            after = await another_agent(backend, before)
            assert (after.host, after.attempts) == (OTHER, 1), "none was lost to the host that does not answer"
        finally:
            frozen.thaw()
        await _serves(backend, stack)
    await backend.end(call.session_id)


async def test_an_agent_that_stood_still_for_too_long_dies_before_it_runs_again(stack: Stack, backend: Backend) -> None:
    async with calling(backend) as call, watching(backend, call.session_id) as watch:
        before = await call.session()
        assert before.agent is not None
        pause(before.agent.pid)

        async def alarm_is_due() -> bool:
            return signal.SIGALRM in pending(before.agent_pid)

        await eventually(alarm_is_due, what="its alarm is due")
        os.kill(before.agent.pid, signal.SIGCONT)

        await call.hears(RESUMED_LINE)
        assert (await another_agent(backend, before)).replacements == 1
        assert (len(watch.sids), watch.most_at_once) == (2, 1)
        assert "the agent process died (SIGALRM)" in stack.log("host")
    await backend.end(call.session_id)


def pending(pid: int | None) -> set[int]:
    """The signals that wait for a process."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("ShdPnd")]
    mask = int(line.split()[1], 16)
    return {number for number in range(1, 32) if mask >> (number - 1) & 1}


async def _serves(backend: Backend, stack: Stack) -> None:
    """It is heard again, and forks fresh agents."""

    async def alive() -> bool:
        views = {view.host: view for view in await backend.container.hosts.hosts()}
        return views[HOST_ID].alive and "lostAt" not in views[HOST_ID].fields

    await eventually(alive, what="it is heard again")
    session_id = f"prewarm_{secrets.token_hex(16)}"
    fresh = await backend.spawn(session_id)
    assert fresh.ok
    session = await backend.session(session_id, S.READY, S.ENDED)
    assert session.host == HOST_ID
    await backend.end(session.session_id)
