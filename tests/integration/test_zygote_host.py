"""The real zygote under a real daemon: killed, given a broken agent, given one that prints."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from contract.messages import Spawned
from contract.states import SessionState
from orchestrator.services.start import Handed
from tests.support.records import warm_id
from tests.support.stack import Backend, Stack, eventually, pause, running_stack

pytestmark = pytest.mark.timeout(180)

NOISY = """
import sys
from livekit.agents import Agent

print("loaded")

def make(assignment):
    for number in range(2000):
        print(f"line {number} " + "x" * 40)
    sys.stderr.write("to standard error\\n")
    return Agent(instructions="be quiet")
"""


STUCK = """
import asyncio, time
from livekit.agents import Agent

def make(assignment):
    asyncio.get_running_loop().run_in_executor(None, time.sleep, 600)
    print("stuck from now on")
    return Agent(instructions="never let go")
"""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    modules = tmp_path_factory.mktemp("modules")
    (modules / "noisy_agent.py").write_text(NOISY)
    (modules / "stuck_agent.py").write_text(STUCK)
    (modules / "exiting_agent.py").write_text("raise SystemExit('set WEATHER_API_KEY first')\n")
    (modules / "threaded_agent.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "def make(assignment): ...\n"
    )
    settings = {"PYTHONPATH": str(modules), "ACK_TIMEOUT_S": "1.5", "PREWARM_POOL_SIZE": "0", "LOG_MAX_BYTES": "20000"}
    with running_stack(**settings) as stack:
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        yield backend
        live = await backend.store.page([s for s in SessionState if s not in ("ended", "failed")], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))
        assert stack.agent_pids() == set()
        assert await backend.rooms_left() == []


async def test_a_killed_zygote_is_started_again_and_its_agents_stay(backend: Backend, stack: Stack) -> None:
    session = await backend.warm(warm_id(1))
    assert session.agent_pid is not None
    first = stack.zygote_pid()

    os.kill(first, signal.SIGKILL)

    async def spawned() -> Spawned | None:
        outcome = await backend.spawn(warm_id(2))  # it waits for the next zygote, once the death is noticed
        return outcome if outcome.ok else None

    again = await eventually(spawned, what="the next zygote forks")
    assert stack.zygote_pid() != first
    assert stack.agent_pids() == {session.agent_pid, again.pid}
    assert psutil.Process(session.agent_pid).ppid() == stack.host.pid, "the daemon reaps it from now on"
    assert (await backend.local_host.check()).ended == []
    assert await backend.pool_has(2) == {session.session_id, warm_id(2)}
    await backend.gone(first)


async def test_an_agent_of_a_dead_zygote_is_reaped_and_its_signal_is_known(backend: Backend, stack: Stack) -> None:
    session = await backend.warm(warm_id(3))
    assert session.agent_pid is not None
    os.kill(stack.zygote_pid(), signal.SIGKILL)
    await backend.session(session.session_id, SessionState.READY)

    async def adopted() -> bool:
        return psutil.Process(session.agent_pid).ppid() == stack.host.pid

    await eventually(adopted, what="the daemon is its parent")
    os.kill(session.agent_pid, signal.SIGKILL)

    assert (await backend.session(session.session_id, SessionState.FAILED)).error == "the agent process died (SIGKILL)"
    await backend.gone(session.agent_pid)
    stack.all_reaped()
    stack.wait_zygote("ready")


async def test_a_zygote_that_hangs_does_not_lose_the_daemon(backend: Backend, stack: Stack) -> None:
    other = await backend.warm(warm_id(7))  # it is ready
    zygote = stack.zygote_pid()
    pause(zygote)
    outcome = await backend.spawn(warm_id(4), timeout_s=0.5)
    assert (outcome.ok, outcome.code) == (False, "zygote_unavailable")
    os.kill(zygote, signal.SIGCONT)

    async def alone() -> bool:
        return stack.agent_pids() == {other.agent_pid}

    await eventually(alone, what="the fork that came too late is gone")
    assert (await backend.spawn(warm_id(4))).ok
    assert len(stack.agent_pids()) == 2


@pytest.mark.parametrize(
    ("agent", "reason"),
    [
        ("no_such_module:make", "AGENT=no_such_module:make: ModuleNotFoundError: No module named 'no_such_module'"),
        ("noisy_agent:nobody", "AttributeError: module 'noisy_agent' has no attribute 'nobody'"),
        ("exiting_agent:make", "set WEATHER_API_KEY first"),
        ("threaded_agent:make", "the preload started 1 threads"),
    ],
)
async def test_an_agent_that_cannot_be_loaded_is_named_by_the_host_and_by_each_spawn(
    backend: Backend, stack: Stack, agent: str, reason: str
) -> None:
    stack.host.stop()
    stack.start_host(ready=False, AGENT=agent)

    assert reason in stack.wait_zygote("failed")

    outcome = await backend.spawn(warm_id(5))
    assert (outcome.ok, outcome.code) == (False, "zygote_unavailable")
    assert reason in (outcome.reason or "")
    await backend.container.rooms.delete(warm_id(5))


async def test_what_an_agent_prints_is_in_its_log_and_bounded(backend: Backend, stack: Stack) -> None:
    stack.host.stop()
    stack.start_host(AGENT="noisy_agent:make")
    session = await backend.warm(warm_id(6))
    await backend.start()

    async def lines() -> list[dict[str, object]]:
        found = await backend.container.sessions.logs(session.session_id, 200)
        return [dict(line) for line in found if line.get("stream") == "stderr"] and [dict(line) for line in found]

    found = await eventually(lines, what="what it printed")
    printed = [line for line in found if line.get("stream") == "stdout"]
    assert str(printed[-1]["message"]).startswith("line 1999 ")
    assert {"stream": "stderr", "message": "to standard error"}.items() <= next(
        line for line in found if line.get("stream") == "stderr"
    ).items()
    assert len(found) <= 200
    log = stack.home / "host" / "logs" / f"{session.session_id}.log"

    async def cut() -> bool:
        return log.stat().st_size <= 20_000

    await eventually(cut, what="the log is cut")


async def test_an_agent_whose_thread_never_returns_goes_all_the_same(backend: Backend, stack: Stack) -> None:
    """Also without a host, which would kill it."""
    stack.host.stop()
    stack.start_host(AGENT="stuck_agent:make", AGENT_ORPHAN_S="1")
    session = await backend.warm(warm_id(8))
    assert isinstance(await backend.start(), Handed)

    async def is_stuck() -> bool:
        lines = await backend.container.sessions.logs(session.session_id, 50)
        return any(line.get("message") == "stuck from now on" for line in lines)

    await eventually(is_stuck, what="its thread never returns")
    stack.host.kill()

    assert session.agent_pid is not None
    await backend.gone(session.agent_pid)
    stack.start_host(ready=False)

    async def is_to_be_replaced() -> bool:
        found = await backend.store.get(session.session_id)
        return found is not None and found.replacements == 1

    await eventually(is_to_be_replaced, what="its session is to get another agent")
    await backend.store.finish(session.session_id, SessionState.ENDED, "its caller ended it")
    assert not await backend.container.spawner(session.session_id), "the worker finds it over, and closes its room"
    await backend.room_gone(session.session_id)


def test_the_log_of_an_agent_is_its_owners(stack: Stack) -> None:
    logs = list((stack.home / "host" / "logs").iterdir())
    assert logs
    assert {Path(log).stat().st_mode & 0o777 for log in logs} == {0o600}
