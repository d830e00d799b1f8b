"""Two pods of the StatefulSet as real processes; one is let go in a call, as Kubernetes does it: nothing is cut."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest

from agent.voices.script import JOKES
from contract.states import SessionState
from tests.deploy.image import entry_point
from tests.deploy.manifests import manifests
from tests.deploy.manifests import pod as pod_of
from tests.support.machines import view_of
from tests.support.session_call import SessionCall, calling
from tests.support.stack import TOP, Backend, Stack, eventually

pytestmark = pytest.mark.timeout(480)
S = SessionState
POOL = 2
MOST_CALLS = 8
ENDS_S = 60.0
"""For a pod whose last call has ended."""
START_S = 120.0


@dataclass
class Pod:
    """What runs in a pod: its one container's process, and how the StatefulSet says that it is stopped."""

    stack: Stack
    container: Any
    grace_s: float

    @property
    def name(self) -> str:
        return self.stack.host_id

    @property
    def process(self) -> subprocess.Popen[bytes]:
        process = self.stack.parts["pod"].process
        assert process is not None
        return process

    def start(self) -> None:
        """The image's entry point after its init, with the container's arguments and settings."""
        _, init_ends, *entry = entry_point()
        assert (init_ends, entry) == ("--", ["greenroom", "serve"])
        given = manifests("small").settings(self.container)
        # What is this machine's and not the cluster's stays as the test has it.
        own = {name: value for name, value in given.items() if name not in self.stack.environment()}
        self.stack.start("pod", "orchestrator.cli.main", "serve", *self.container["args"], **own)

    def delete(self) -> None:
        """As the kubelet does: preStop, then SIGTERM to the container's first process; SIGKILL after ``grace_s``."""
        for hook in self.container.get("lifecycle", {}).get("preStop", {}).values():
            subprocess.run(hook["command"], env=self.stack.environment(), cwd=TOP, check=True, timeout=self.grace_s)
        self.process.send_signal(signal.SIGTERM)

    def processes(self) -> list[psutil.Process]:
        return self.stack.processes()


@pytest.fixture
def hub() -> Iterator[Stack]:
    # A user who leaves is not waited for, and the pool stays at its floor, however many calls are begun.
    pool = {"PREWARM_POOL_SIZE": str(POOL), "POOL_CAP": "0", "MAX_BOTS": "12"}
    stack = Stack.create(RECONNECT_GRACE_S="0", ACK_TIMEOUT_S="1.5", **pool)
    try:
        yield stack
    finally:
        stack.stop()


@pytest.fixture
def pods(hub: Stack) -> Iterator[dict[str, Pod]]:
    (workload,) = manifests("small").hosts
    (container,) = pod_of(workload)["containers"]
    grace_s = pod_of(workload)["terminationGracePeriodSeconds"]
    name = workload["metadata"]["name"]
    made = [Pod(hub.beside(f"{name}-{number}"), container, grace_s) for number in range(workload["spec"]["replicas"])]
    try:
        for each in made:
            each.start()
        yield {each.name: each for each in made}
    finally:
        with contextlib.ExitStack() as stopping:
            for each in made:
                stopping.callback(each.stack.stop)
                if each.process.poll() is None:
                    each.process.send_signal(signal.SIGTERM)
            for each in made:
                each.process.wait(ENDS_S)


@pytest.fixture
async def backend(hub: Stack, pods: dict[str, Pod]) -> AsyncIterator[Backend]:
    async with hub.container() as backend:

        async def all_fork() -> bool:
            views = await backend.container.hosts.hosts()
            ready = {view.host for view in views if view.alive and view.fields.get("zygote") == "ready"}
            return ready == pods.keys()

        await eventually(all_fork, timeout_s=START_S, what="every pod can start agents")
        await backend.container.pool.trigger()
        await backend.pool_has(POOL)
        yield backend
        await backend.container.pool.resize(0)
        await backend.pool_has(0)


async def _host_of(call: SessionCall) -> str:
    host = (await call.session()).host
    assert host is not None
    return host


@contextlib.asynccontextmanager
async def _calls_on(backend: Backend, hosts: set[str]) -> AsyncIterator[dict[str, SessionCall]]:
    """One call on each host; as many are begun as that takes."""
    async with contextlib.AsyncExitStack() as calls:
        found: dict[str, SessionCall] = {}
        for _ in range(MOST_CALLS):
            call = await calls.enter_async_context(calling(backend))
            host = await _host_of(call)
            if host in found:
                await backend.end(call.session_id)
            found.setdefault(host, call)
            if found.keys() == hosts:
                break
        assert found.keys() == hosts
        yield found


async def test_a_scale_down_cuts_no_call(backend: Backend, pods: dict[str, Pod]) -> None:
    stays, goes = sorted(pods)  # a StatefulSet lets go of the highest number
    async with _calls_on(backend, {stays, goes}) as calls:
        before = await calls[goes].session()
        assert await calls[goes].asks("tell me a joke") == JOKES[0]

        pods[goes].delete()

        async def drains() -> bool:
            view = await view_of(backend, goes)
            return view.draining and not view.drained

        await eventually(drains, what=f"{goes} drains")
        assert await calls[goes].asks("tell me another joke") == JOKES[1]
        assert await calls[stays].asks("tell me a joke") == JOKES[0]

        for number in range(POOL + 1):
            started = await backend.start(f"user-{number}")
            session = await backend.session(started.session_id, S.ASSIGNED)
            assert session.host == stays
            await backend.end(started.session_id)
        await _pool_is_on(backend, stays)

        after = await calls[goes].session()
        assert (after.agent, after.replacements, after.state) == (before.agent, 0, S.ACTIVE)
        assert await calls[goes].asks("tell me another joke") == JOKES[2]
        assert pods[goes].process.poll() is None, "it waits for its call"

        await calls[goes].caller.leave()
        ended = await backend.session(calls[goes].session_id, S.ENDED)
        assert "drain" not in (ended.end_reason or ""), ended.end_reason
        assert pods[goes].grace_s > ENDS_S
        assert pods[goes].process.wait(ENDS_S) == 0, "it ends by itself, and is not killed"
        assert pods[goes].processes() == []

        assert await calls[stays].asks("tell me another joke") == JOKES[1]
        assert (await calls[stays].session()).replacements == 0
        assert (await backend.store.spawn_stats()).failures == {}


async def _pool_is_on(backend: Backend, host: str) -> None:
    async def look() -> bool:
        await backend.container.pool.trigger()  # beat's part
        members = await backend.pool()
        return [(await backend.session(i, *S)).host for i in members] == [host] * POOL

    await eventually(look, what=f"the pool is full of agents of {host}")
