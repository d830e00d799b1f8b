"""Several kinds of agents on real hosts: each answers as itself, none stops another, and one is added during a call."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import pytest

from agent.confine import STACKS_MB
from contract.states import SessionState
from orchestrator.records import RolloutRecord, Session
from orchestrator.services.start import Handed, Starting
from tests.support.session_call import another_agent, joined
from tests.support.stack import Backend, Stack, eventually, is_running, running_stack

pytestmark = pytest.mark.timeout(240)
CODE = """
from agent.assistant import assistant

def _named(greeting):
    def make(assignment):
        agent = assistant(assignment)
        agent.greeting = greeting
        return agent
    return make

plain, support, sales = _named("I am the plain one."), _named("I am support."), _named("I am sales.")
"""
SUPPORT = '[support]\nagent = "own_kinds:support"\nfloor = 1\nmemory_mb = 1024\n'
BROKEN = '[broken]\nagent = "no_such_module:make"\nfloor = 1\n'
SALES = '[sales]\nagent = "own_kinds:sales"\nfloor = 1\n'


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    """The file of kinds, beside the module that has them."""
    with tempfile.TemporaryDirectory(prefix="greenroom-") as folder:
        Path(folder, "own_kinds.py").write_text(CODE)
        path = Path(folder, "agents.toml")
        path.write_text(SUPPORT + BROKEN)
        yield path


@pytest.fixture(scope="module")
def stack(file: Path) -> Iterator[Stack]:
    path = os.pathsep.join(filter(None, [str(file.parent), os.environ.get("PYTHONPATH")]))
    own = {
        "AGENT": "own_kinds:plain", "AGENTS_FILE": str(file), "PYTHONPATH": path, "PREWARM_POOL_SIZE": "1",
        "POOL_CAP": "0", "MAX_BOTS": "12", "SPAWN_BREAKER_FAILURES": "2", "SPAWN_BREAKER_MAX_OPEN_S": "2",
    }  # fmt: skip
    with running_stack_of(own) as stack:
        stack.start_beat()
        yield stack


@contextlib.contextmanager
def running_stack_of(settings: Mapping[str, str]) -> Iterator[Stack]:
    """One kind never becomes ready: the host is waited for, and not all of its zygotes."""
    stack = Stack.create(**settings)
    try:
        stack.start_worker()
        stack.start_host(ready=False)
        yield stack
    finally:
        stack.stop()


@contextlib.asynccontextmanager
async def backend_of(stack: Stack, *kinds: str) -> AsyncIterator[Backend]:
    """What a program started now would have; one agent of each of these waits. Afterwards no call is left."""
    async with stack.container() as backend:
        for kind in kinds:
            await waits(backend, kind)
        yield backend
        live = await backend.store.page([SessionState.ASSIGNED, SessionState.ACTIVE], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))


async def waits(backend: Backend, kind: str) -> str:
    key = "pool:ready" if kind == "default" else f"pool:ready:{kind}"

    async def look() -> str | None:
        return next(iter(await backend.container.client.smembers(key)), None)

    return await eventually(look, what=f"an agent of the kind {kind} waits")


async def handed(backend: Backend, kind: str) -> Session:
    """An agent that waited, claimed."""
    waiting = await waits(backend, kind)
    started = await backend.start(f"user-of-{kind}", kind=kind)
    assert isinstance(started, Handed)
    assert started.session_id == waiting
    return await backend.session(started.session_id, SessionState.ASSIGNED)


async def test_each_kind_answers_as_itself(stack: Stack) -> None:
    async with backend_of(stack, "default", "support") as backend:
        for kind, greeting in (("support", "I am support."), ("default", "I am the plain one.")):
            session = await handed(backend, kind)
            assert session.kind == kind
            async with joined(backend, session.session_id) as call:
                await call.hears(greeting)
            assert session.agent_pid is not None
            limits = Path(f"/proc/{session.agent_pid}/limits").read_text()
            [line] = [line for line in limits.splitlines() if line.startswith("Max data size")]
            memory_mb = {"support": 1024, "default": 2048}[kind]
            assert int(line.split()[3]) == (memory_mb + STACKS_MB) * 2**20


async def test_a_dead_agents_call_goes_on_with_one_of_its_kind(stack: Stack) -> None:
    async with backend_of(stack, "support") as backend:
        session = await handed(backend, "support")
        async with joined(backend, session.session_id) as call:
            await call.hears("I am support.")
            before = await call.session()
            assert before.agent_pid is not None
            os.kill(before.agent_pid, signal.SIGKILL)
            after = await another_agent(backend, before)
            assert after.kind == "support"
            assert await call.asks("tell me a joke")


async def test_a_kind_that_cannot_be_loaded_stops_no_other(stack: Stack) -> None:
    async with backend_of(stack, "default", "support") as backend:

        async def opened() -> bool:
            return (await backend.container.breakers.look("broken")).breaker.opened > 0

        await eventually(opened, what="its own breaker opens")
        for kind in ("default", "support"):
            assert (await backend.container.breakers.look(kind)).breaker.opened == 0
        said = stack.heartbeat()
        assert said["zygote"] == (
            "broken failed: AgentLoadError: AGENT=no_such_module:make: ModuleNotFoundError: No module named"
            " 'no_such_module'"
        )
        assert (said["kinds"], said["ready_kinds"]) == ("default,support,broken", "default,support")

        async def degraded() -> str | None:
            report = await backend.container.health.report()
            return None if report.spawns.ok else report.spawns.detail

        detail = await eventually(degraded, what="health says so")
        assert detail.startswith("broken: ")
        assert "No module named 'no_such_module'" in detail
        await handed(backend, "support")
        await waits(backend, "support")


async def test_a_start_of_a_kind_that_cannot_be_loaded_comes_to_an_end(stack: Stack) -> None:
    """It was taken before its breaker opened, or as its try; nobody who goes on asking is left without an outcome."""
    async with backend_of(stack) as backend:

        async def taken() -> Starting | None:
            started = await backend.start("user-of-broken", kind="broken")
            return started if isinstance(started, Starting) else None

        starting = await eventually(taken, what="a start is taken")

        async def look() -> Session | None:
            session = await backend.container.sessions.get(starting.session_id)
            if session.waiting_place is not None:
                place = session.queue_position or 1
                # What was looked at a moment ago may be of before.
                estimates.append(await backend.container.waits.estimate_s(place, session.waiting_place, "broken"))
            return session if session.state is SessionState.FAILED else None

        estimates: list[float | None] = []
        failed = await eventually(look, what="it fails", timeout_s=90)
        assert failed.error_code == "spawn_failed"
        assert estimates
        assert estimates[-1] is None, "nobody can say how long"


async def test_a_kind_is_added_during_a_call(stack: Stack, file: Path) -> None:
    async with backend_of(stack, "support") as backend:
        session = await handed(backend, "support")
        async with joined(backend, session.session_id) as call:
            await call.hears("I am support.")
            before = await call.session()

            file.write_text(SUPPORT + SALES)
            await asyncio.to_thread(_start_again, stack)
            async with stack.container() as newer:
                added = await handed(newer, "sales")
                async with joined(newer, added.session_id) as another:
                    await another.hears("I am sales.")
                await newer.end(added.session_id)

            assert await call.asks("tell me a joke")
            assert await call.session() == before


def _start_again(stack: Stack) -> None:
    """The programs that read the file; Redis and LiveKit stay."""
    stack.worker.stop()
    stack.host.stop()
    stack.start_worker()
    stack.start_host(ready=False)
    stack.parts["beat"].stop()
    stack.start_beat()


async def test_a_rollout_has_the_host_take_up_a_kind(stack: Stack, file: Path) -> None:
    async with backend_of(stack, "support", "sales") as backend:
        await asyncio.to_thread(stack.wait_zygote, "ready")
        pids = stack.agent_pids()
        session = await handed(backend, "support")
        file.write_text(SUPPORT + SALES + SALES.replace("[sales]", "[late]"))
        _, began = await backend.container.rollout.begin()
        assert began
        assert (await over(backend)).state == "done"
        assert stack.heartbeat()["ready_kinds"] == "default,support,sales,late"
        assert session.agent_pid in pids
        assert session.agent_pid is not None
        assert is_running(session.agent_pid), "no call is touched"
        assert await waits(backend, "sales")
        assert await waits(backend, "support")


async def over(backend: Backend) -> RolloutRecord:
    async def look() -> RolloutRecord | None:
        record = await backend.container.rollout.current()
        return record if record is not None and record.state != "running" else None

    return await eventually(look, timeout_s=90, what="the rollout is over")


@pytest.fixture
def two_hosts(file: Path, stack: Stack) -> Iterator[tuple[Stack, Stack]]:
    """One that serves the default kind alone, and one that serves the other."""
    file.write_text(SUPPORT)
    path = stack.settings["PYTHONPATH"]
    own = {
        "AGENT": "own_kinds:plain",
        "AGENTS_FILE": str(file),
        "PYTHONPATH": path,
        "PREWARM_POOL_SIZE": "1",
        "POOL_CAP": "0",
    }
    with running_stack(worker=True, AGENT_FILTER="default", **own) as first:  # type: ignore[arg-type]
        second = first.beside("host-of-support")
        second.settings["AGENT_FILTER"] = "support"
        try:
            second.start_worker()
            second.start_host()
            yield first, second
        finally:
            second.stop()


async def test_each_host_serves_what_its_filter_names(two_hosts: tuple[Stack, Stack]) -> None:
    first, second = two_hosts
    async with backend_of(first) as backend:
        await backend.container.queue.refill()
        by_kind = {kind: await handed(backend, kind) for kind in ("default", "support")}
        assert {kind: session.host for kind, session in by_kind.items()} == {
            "default": first.host_id, "support": "host-of-support",
        }  # fmt: skip
        assert second.heartbeat()["kinds"] == "support"
        assert "spawn not begun" not in first.log("worker") + second.log("worker")
