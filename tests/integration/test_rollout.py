"""Changed code of an agent is put into service with real hosts, workers and agents; no call is touched."""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from contract.states import SessionState
from orchestrator.records import RolloutRecord
from orchestrator.services.start import Handed
from tests.support.session_call import joined
from tests.support.stack import HOST_ID, Backend, Stack, eventually, is_running, running_stack

pytestmark = pytest.mark.timeout(180)
TARGET = 3
CODE = """
from agent.assistant import assistant

def make(assignment):
    agent = assistant(assignment)
    agent.greeting = {greeting!r}
    return agent
"""


class Module:
    """The user's own agent, as a file that the test changes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "own_agent.py"
        self.says("I am the first.")

    def says(self, greeting: str) -> None:
        self.path.write_text(CODE.format(greeting=greeting))

    def breaks(self) -> None:
        self.path.write_text("import no_such_module\n")


@pytest.fixture(scope="module")
def module() -> Iterator[Module]:
    with tempfile.TemporaryDirectory(prefix="greenroom-") as folder:
        yield Module(Path(folder))


@pytest.fixture(scope="module")
def stack(module: Module) -> Iterator[Stack]:
    path = os.pathsep.join(filter(None, [str(module.path.parent), os.environ.get("PYTHONPATH")]))
    # A changed file of the same size and second is not taken for the compiled one of before.
    own = {"AGENT": "own_agent:make", "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
    with running_stack(worker=True, PREWARM_POOL_SIZE=str(TARGET), MAX_BOTS="8", **own) as stack:  # type: ignore[arg-type]
        stack.start_beat()
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        await backend.pool_has(TARGET)
        yield backend
        live = await backend.store.page([SessionState.ASSIGNED, SessionState.ACTIVE], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))
        await backend.pool_has(TARGET)


async def over(backend: Backend) -> RolloutRecord:
    async def look() -> RolloutRecord | None:
        record = await backend.container.rollout.current()
        return record if record is not None and record.state != "running" else None

    return await eventually(look, timeout_s=60, what="the rollout is over")  # type: ignore[arg-type]


async def test_waiting_agents_are_recycled_and_a_call_goes_on(backend: Backend, module: Module, stack: Stack) -> None:
    handed = await backend.start("ada")
    assert isinstance(handed, Handed)
    async with joined(backend, handed.session_id) as call:
        await call.hears("I am the first.")
        before = await call.session()
        old = await backend.pool_has(TARGET)

        module.says("I am the second.")
        _, began = await backend.container.rollout.begin()
        assert began
        _, began = await backend.container.rollout.begin()
        assert not began, "one at a time"
        record = await over(backend)

        assert (record.state, record.recycled) == ("done", TARGET), record.detail
        assert not old & set(await backend.pool_has(TARGET))
        assert await call.session() == before
        assert await call.asks("tell me a joke")

    handed = await backend.start("bob")
    assert isinstance(handed, Handed)
    async with joined(backend, handed.session_id) as call:
        await call.hears("I am the second.")


async def test_code_that_cannot_be_loaded_changes_nothing(backend: Backend, module: Module, stack: Stack) -> None:
    waiting = set(await backend.pool_has(TARGET))
    module.breaks()
    try:
        await backend.container.rollout.begin()
        record = await over(backend)
        assert record.state == "failed"
        assert record.detail.startswith(f"{HOST_ID}: ")
        assert "No module named 'no_such_module'" in record.detail
        assert set(await backend.pool()) == waiting
        handed = await backend.start("eve")
        assert isinstance(handed, Handed)
        assert waiting - {handed.session_id} < set(await backend.pool_has(TARGET)), "what was loaded before forks on"
    finally:
        module.says("I am the third.")


async def test_agents_of_before_the_hosts_restart_are_older(backend: Backend, module: Module, stack: Stack) -> None:
    waiting = set(await backend.pool_has(TARGET))
    pids = stack.agent_pids()
    stack.host.stop()
    stack.start_host()
    assert all(is_running(pid) for pid in pids)
    await backend.pool_has(TARGET)
    await backend.container.rollout.begin()
    record = await over(backend)
    assert (record.state, record.recycled) == ("done", TARGET), record.detail
    assert not waiting & set(await backend.pool_has(TARGET))
