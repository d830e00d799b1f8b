"""The host's agents over real processes, a fake zygote and fakeredis: who is forked, ended, told of."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest

from contract.messages import (
    SIGNALLED,
    AgentLimits,
    Assigned,
    Assignment,
    Fork,
    Forked,
    Hello,
    Leaving,
    Measured,
    Spawn,
)
from contract.procfs import start_ticks
from contract.states import SessionState
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_measures import RedisMeasures
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.capacity import Capacity
from orchestrator.domain.prices import Prices
from orchestrator.host import agents as module
from orchestrator.host import late
from orchestrator.host.agent import Agent
from orchestrator.host.agent_files import AgentFiles
from orchestrator.host.agents import Agents, AgentSettings
from orchestrator.host.deaths import Deaths
from orchestrator.host.measures import CallCounter
from orchestrator.host.outbox import Outbox
from orchestrator.host.pace import AT_ONCE
from orchestrator.host.processes import ProcessId
from orchestrator.host.zygote import ZygoteUnavailableError
from orchestrator.records import AgentIdentity, AgentRecord
from tests.support.fakes import FakeRooms, FakeTaskQueue, fake_client, replacer
from tests.support.records import LIMITS, beat, cold_id, start_request, warm_id

PATIENCE_S = 20.0


class FakeWriter:
    def __init__(self) -> None:
        self.written = b""

    def is_closing(self) -> bool:
        return False

    def write(self, line: bytes) -> None:
        self.written += line


@dataclass
class FakeZygote:
    """Forks programs that sleep, once it may."""

    may: asyncio.Event = field(default_factory=asyncio.Event)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
    failure: str = ""
    error: str | None = None

    async def fork(self, request: Fork, timeout_s: float) -> tuple[Forked, str]:
        await self.may.wait()
        if self.failure:
            raise ZygoteUnavailableError(self.failure)
        if self.error:
            return Forked(session_id=request.session_id, error=self.error), ""
        process = subprocess.Popen(["sleep", "600"], start_new_session=True)
        self.processes.append(process)
        return Forked(session_id=request.session_id, pid=process.pid, start_ticks=start_ticks(process.pid)), "1.000"


class Host:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        client = fake_client()
        self.store, self.queue = RedisStore(client), FakeTaskQueue()
        self.hosts = RedisHosts(client)
        self.replacer = replacer(self.store, self.hosts, self.queue)
        self.measures = RedisMeasures(client)
        self.rooms = FakeRooms()
        self.zygote = FakeZygote()
        self.outbox = Outbox()
        self.tasks: set[asyncio.Task[object]] = set()
        self.changes = 0
        self.most = 50
        self.agents = self.daemon()

    def daemon(self) -> Agents:
        settings = AgentSettings(
            host_id="host-1", boot_id="boot-1", livekit_url="ws://x", host_socket="s", limits=AgentLimits(),
            kill_grace_s=PATIENCE_S, agent_token=lambda _: "token",
        )  # fmt: skip
        files = AgentFiles(self.folder, log_max_bytes=10_000)
        counter = CallCounter(self.measures, Prices())
        self.deaths = Deaths(
            self.store, self.replacer, self.rooms, counter, self.outbox, self._background, self._changed
        )
        return Agents(
            settings, self.store, self.zygote, files,  # type: ignore[arg-type]
            self.outbox, self._background, self._capacity, counter, self.deaths,
        )  # fmt: skip

    def _background(self, coroutine: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task = asyncio.create_task(coroutine)
        self.tasks.add(task)
        return task

    def _capacity(self, agents: int) -> Capacity:
        return Capacity(self.most, "memory", f"memory: none for more than {self.most}")

    def _changed(self) -> None:
        self.changes += 1

    async def settle(self) -> None:
        """All that is under way is done and told."""
        async with asyncio.timeout(PATIENCE_S):
            while pending := {task for task in self.tasks if not task.done()}:
                await asyncio.wait(pending)
        await self.outbox.flush()
        await asyncio.gather(*self.tasks)

    def says_hello(
        self, session_id: str, process: subprocess.Popen[bytes], phase: str, assignment: Assignment | None = None
    ) -> None:
        ticks = start_ticks(process.pid)
        hello = Hello(
            session_id=session_id, pid=process.pid, start_ticks=ticks, phase=phase, created_at=1.0, startup_s=0.1,
            assignment=assignment, proof=AgentFiles(self.folder, log_max_bytes=10_000).proof(session_id),
        )  # fmt: skip
        assert self.agents.hello(hello, FakeWriter()) is not None  # type: ignore[arg-type]

    def is_taken(self, session_id: str, assignment: Assignment | None = None) -> None:
        """Its agent took this assignment from this daemon."""
        agent = self.agents.get(session_id)
        assert agent is not None
        agent.assignment = assignment or Assignment(session_id=session_id, fence=7, user_id="user-1")

    async def state(self, session_id: str) -> SessionState:
        session = await self.store.get(session_id)
        assert session is not None
        return session.state


@pytest.fixture
async def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Host]:
    monkeypatch.setattr(module, "EXIT_STATUS_WAIT_S", 0.01)
    host = Host(tmp_path / "host")
    host.zygote.may.set()
    yield host
    await host.agents.end_all("the test is over")
    await host.settle()
    for process in host.zygote.processes:
        process.kill()
        process.wait()


def spawn(session_id: str = warm_id(1), timeout_s: float = PATIENCE_S) -> Spawn:
    return Spawn(session_id=session_id, requested_at=1.0, timeout_s=timeout_s)


async def forked(host: Host, count: int = 1) -> subprocess.Popen[bytes]:
    async with asyncio.timeout(PATIENCE_S):
        while len(host.zygote.processes) < count or len(host.agents) < 1:
            await asyncio.sleep(0.001)
    return host.zygote.processes[count - 1]


async def test_many_spawns_of_one_session_are_one_fork(host: Host) -> None:
    host.zygote.may.clear()
    waiting = [asyncio.create_task(host.agents.spawn(spawn())) for _ in range(4)]
    await asyncio.sleep(0)
    host.zygote.may.set()
    host.says_hello(warm_id(1), await forked(host), "ready")

    outcomes = await asyncio.gather(*waiting)

    assert [outcome.ok for outcome in outcomes] == [True] * 4
    assert len(host.zygote.processes) == 1


async def test_while_it_drains_it_forks_nobody_and_knows_whom_it_has(host: Host) -> None:
    assert host.agents.are_gone
    first = asyncio.create_task(host.agents.spawn(spawn()))
    host.says_hello(warm_id(1), await forked(host), "ready")
    assert (await first).ok
    host.agents.draining = True
    refused = await host.agents.spawn(spawn(warm_id(2)))
    assert (refused.ok, refused.code) == (False, "host_draining")
    assert (await host.agents.spawn(spawn())).ok, "the one that it has is there"
    assert not host.agents.are_gone
    await host.agents.end_all("x")
    await host.settle()
    assert host.agents.are_gone


async def test_it_knows_whether_it_has_calls(host: Host) -> None:
    spawning = asyncio.create_task(host.agents.spawn(spawn()))
    process = await forked(host)
    host.says_hello(warm_id(1), process, "ready")
    await spawning
    assert not host.agents.have_calls(), "an agent that waits is no call"
    host.says_hello(warm_id(1), process, "active")
    assert not host.agents.have_calls(), "and saying so makes it none"
    host.is_taken(warm_id(1))
    for phase in ("assigned", "active"):
        host.says_hello(warm_id(1), process, phase)
        assert host.agents.have_calls()


async def test_a_full_host_forks_nobody_more_but_for_a_call(host: Host) -> None:
    host.most = 1
    first = asyncio.create_task(host.agents.spawn(spawn()))
    host.says_hello(warm_id(1), await forked(host), "ready")
    assert (await first).ok
    assert not host.agents.refused_one
    refused = await host.agents.spawn(spawn(warm_id(2)))
    assert (refused.ok, refused.code) == (False, "host_full")
    assert refused.reason == "this host has 1 agents; memory: none for more than 1"
    assert host.agents.refused_one
    assert (await host.agents.spawn(spawn())).ok, "the one that it has is there"
    call = asyncio.create_task(host.agents.spawn(spawn(warm_id(3)).model_copy(update={"in_call": True})))
    host.says_hello(warm_id(3), await forked(host, 2), "ready")
    assert (await call).ok


async def test_one_that_is_on_its_way_has_its_place_and_one_that_ends_has_none(host: Host) -> None:
    host.most = 1
    host.zygote.may.clear()
    first = asyncio.create_task(host.agents.spawn(spawn()))
    await asyncio.sleep(0)
    assert (await host.agents.spawn(spawn(warm_id(2)))).code == "host_full"
    host.zygote.may.set()
    host.says_hello(warm_id(1), await forked(host), "ready")
    assert (await first).ok
    agent = host.agents.get(warm_id(1))
    assert agent is not None
    ending = asyncio.create_task(host.agents.end(agent, "x"))
    await asyncio.sleep(0)
    assert host.agents.count == 0
    await ending


async def test_one_who_goes_away_does_not_take_the_others_fork_along(host: Host) -> None:
    host.zygote.may.clear()
    first, second = (asyncio.create_task(host.agents.spawn(spawn())) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    host.zygote.may.set()
    host.says_hello(warm_id(1), await forked(host), "ready")
    assert (await second).ok


async def test_one_that_does_not_join_in_time_is_said_at_once_and_the_next_try_has_another(host: Host) -> None:
    outcome = await host.agents.spawn(spawn(timeout_s=0.05))
    assert (outcome.ok, outcome.code) == (False, "agent_died")
    assert outcome.reason == "the agent was not in its room within 0.05 s"

    second = asyncio.create_task(host.agents.spawn(spawn()))
    host.says_hello(warm_id(1), await forked(host, 2), "ready")

    assert (await second).pid == host.zygote.processes[1].pid
    assert host.zygote.processes[0].wait(PATIENCE_S) < 0


async def test_nobody_is_signalled_between_a_death_and_its_burial(host: Host) -> None:
    """The dead one's descriptor is closed: its number may by then be another agent's."""
    waiting = asyncio.create_task(host.agents.spawn(spawn()))
    process = await forked(host)
    host.says_hello(warm_id(1), process, "ready")
    await waiting
    agent = host.agents.get(warm_id(1))
    assert agent is not None
    number = agent.pidfd
    process.kill()
    process.wait()
    async with asyncio.timeout(PATIENCE_S):
        while agent.pidfd is not None:
            await asyncio.sleep(0)
    with subprocess.Popen(["sleep", "600"]) as bystander:
        taken = os.pidfd_open(bystander.pid)
        assert taken == number, "the kernel gives the lowest free number"

        await host.agents.end(agent, "it is to end")

        assert bystander.poll() is None
        os.close(taken)
        bystander.kill()


@pytest.mark.parametrize(
    ("begun", "session_id", "state", "deleted"),
    [
        (True, warm_id(1), SessionState.FAILED, True),
        (True, cold_id(1), SessionState.ASSIGNED, False),
        (False, cold_id(1), SessionState.STARTING, False),
    ],
)
@pytest.mark.parametrize("dies", ["while no daemon watches", "before it opened its line again"])
async def test_a_death_around_a_restart_is_told_unless_its_spawn_has_tries_left(
    host: Host, begun: bool, session_id: str, state: SessionState, deleted: bool, dies: str
) -> None:
    """One in a call is replaced."""
    if session_id == cold_id(1):
        await host.store.reserve_cold(start_request(), session_id, "task", LIMITS)
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    host.zygote.processes.append(process)
    files = AgentFiles(host.folder, log_max_bytes=10_000)
    files.remember(session_id, ProcessId(process.pid, start_ticks(process.pid)), 1.0)
    if begun:
        await _is_ready(host, session_id, process)
    if dies == "while no daemon watches":
        process.kill()
        process.wait()

    host.agents.take_up()
    process.kill()
    process.wait()
    async with asyncio.timeout(PATIENCE_S):
        while len(host.agents):
            await asyncio.sleep(0.001)
    await host.settle()
    await host.settle()

    assert await host.state(session_id) is state
    assert (host.rooms.deleted == [session_id]) is deleted
    assert host.queue.spawned == ([(session_id, True)] if state is SessionState.ASSIGNED else [])
    assert files.remembered() == []


async def _is_ready(host: Host, session_id: str, process: subprocess.Popen[bytes]) -> None:
    identity = AgentIdentity("host-1", "boot-1", process.pid, start_ticks(process.pid))
    await host.store.record_agent(AgentRecord(session_id, identity, SessionState.READY, 1.0, 0.1, None))


@pytest.mark.parametrize("told", ["failure", "error"])
async def test_a_fork_that_fails_leaves_no_file_behind_but_its_log(host: Host, told: str) -> None:
    setattr(host.zygote, told, "the module is broken")
    for number in range(3):
        outcome = await host.agents.spawn(spawn(warm_id(number)))
        assert (outcome.ok, outcome.code, outcome.reason) == (False, "zygote_unavailable", "the module is broken")
    assert [path.name for path in (host.folder / "agents").iterdir()] == []


async def test_one_that_is_stopped_is_not_waited_for_when_it_is_ended(host: Host) -> None:
    """It could not heed what it is asked, and a successor waits until it is gone."""
    agent = await _waiting(host)
    os.kill(agent.process.pid, signal.SIGSTOP)
    async with asyncio.timeout(PATIENCE_S / 2):  # half of what another one is given
        await host.agents.end(agent, "x")


async def test_a_retiring_host_forks_no_more(host: Host) -> None:
    host.agents.retiring = True
    outcome = await host.agents.spawn(spawn())
    assert (outcome.ok, outcome.code) == (False, "host_retiring")
    assert host.zygote.processes == []


@pytest.mark.parametrize(
    ("word", "state", "reason"),
    [
        (None, SessionState.ENDED, "the host is stopping"),
        ({"reason": "told to end", "ok": True}, SessionState.ENDED, "the host is stopping"),
        ({"reason": SIGNALLED, "ok": False}, SessionState.ENDED, "the host is stopping"),
        ({"reason": "ValueError: no voice", "ok": False}, SessionState.FAILED, "ValueError: no voice"),
    ],
)
async def test_one_that_the_host_ended_has_the_hosts_reason(
    host: Host, word: dict[str, object] | None, state: SessionState, reason: str
) -> None:
    """The signal may reach it before the message that says why, and a killed one says nothing; a fault stays one."""
    session_id = warm_id(1)
    waiting = asyncio.create_task(host.agents.spawn(spawn(session_id)))
    host.says_hello(session_id, await forked(host), "ready")
    await waiting
    agent = host.agents.get(session_id)
    assert agent is not None
    if word is not None:
        AgentFiles(host.folder, log_max_bytes=10_000).last_word_path(session_id).write_text(json.dumps(word))

    ending = asyncio.create_task(host.agents.end(agent, "the host is stopping"))
    await asyncio.sleep(0)
    host.zygote.processes[0].kill()
    host.zygote.processes[0].wait()
    await ending
    await host.settle()

    session = await host.store.get(session_id)
    assert session is not None
    assert (session.state, session.end_reason) == (state, reason)


async def _in_call(host: Host) -> tuple[str, Agent]:
    """A session in a call, with its agent."""
    session_id = cold_id(1)
    await host.store.reserve_cold(start_request(), session_id, "task", LIMITS)
    waiting = asyncio.create_task(host.agents.spawn(spawn(session_id)))
    process = await forked(host)
    await _is_ready(host, session_id, process)
    session = await host.store.get(session_id)
    assert session is not None
    held = Assignment(session_id=session_id, fence=session.fence, user_id="user-1")
    host.says_hello(session_id, process, "joining")
    host.is_taken(session_id, held)
    host.says_hello(session_id, process, "assigned", held)
    await waiting
    agent = host.agents.get(session_id)
    assert agent is not None
    return session_id, agent


async def _waiting(host: Host) -> Agent:
    """An agent that waits."""
    spawning = asyncio.create_task(host.agents.spawn(spawn()))
    host.says_hello(warm_id(1), await forked(host), "ready")
    assert (await spawning).ok
    agent = host.agents.get(warm_id(1))
    assert agent is not None
    return agent


def _leave_a_word(host: Host, session_id: str, reason: str, *, ok: bool) -> None:
    path = AgentFiles(host.folder, log_max_bytes=10_000).last_word_path(session_id)
    path.write_text(json.dumps({"reason": reason, "ok": ok}))


def _die(host: Host) -> None:
    host.zygote.processes[-1].kill()
    host.zygote.processes[-1].wait()


async def test_a_death_in_a_call_has_another_agent_queued_and_leaves_the_room(host: Host) -> None:
    session_id, agent = await _in_call(host)

    _die(host)
    await agent.dead.wait()
    await host.settle()

    session = await host.store.get(session_id)
    assert session is not None
    assert (session.state, session.agent, session.replacements) == (SessionState.ASSIGNED, None, 1)
    assert (host.queue.spawned, host.rooms.deleted) == ([(session_id, True)], [])


@pytest.mark.parametrize("told", ["in its file", "on its line"])
async def test_one_that_a_signal_ended_in_a_call_is_replaced(host: Host, told: str) -> None:
    """Not its host's: a panic of the native library, another agent, a shutdown of the machine."""
    session_id, agent = await _in_call(host)
    if told == "in its file":
        _leave_a_word(host, session_id, SIGNALLED, ok=False)
    else:
        host.agents.leaving(agent, Leaving(reason=SIGNALLED, ok=False))
    _die(host)
    await agent.dead.wait()
    await host.settle()
    session = await host.store.get(session_id)
    assert session is not None
    assert (session.state, session.agent, session.replacements) == (SessionState.ASSIGNED, None, 1)
    assert host.queue.spawned == [(session_id, True)]


async def test_one_that_a_signal_ended_while_it_waited_is_gone_and_the_pool_filled(host: Host) -> None:
    agent = await _waiting(host)
    _leave_a_word(host, warm_id(1), SIGNALLED, ok=False)
    _die(host)
    await agent.dead.wait()
    await host.settle()
    session = await host.store.get(warm_id(1))
    assert session is not None
    assert (session.state, session.error, host.queue.spawned) == (SessionState.FAILED, SIGNALLED, [])
    assert host.changes == 1, "the pool is filled"


@pytest.mark.parametrize(("ok", "state", "spawned"), [(True, SessionState.ENDED, 0), (False, SessionState.ASSIGNED, 1)])
async def test_what_it_said_on_its_line_counts_where_it_left_no_word(
    host: Host, ok: bool, state: SessionState, spawned: int
) -> None:
    session_id, agent = await _in_call(host)
    host.agents.leaving(agent, Leaving(reason="the user left", ok=ok))
    host.agents.leaving(agent, Leaving(reason="something else", ok=not ok))
    _die(host)
    await agent.dead.wait()
    await host.settle()
    session = await host.store.get(session_id)
    assert session is not None
    assert (session.state, len(host.queue.spawned)) == (state, spawned)
    assert session.end_reason == ("the user left" if ok else None)


async def test_one_that_says_it_leaves_is_not_asked_and_not_handed_out(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = await _waiting(host)
    pings = 0

    async def leaves_meanwhile(_: float) -> bool:
        nonlocal pings
        pings += 1
        host.agents.leaving(agent, Leaving(reason="the user left"))
        return False

    monkeypatch.setattr(agent, "ping", leaves_meanwhile)
    assert await host.agents.check() == [], "it leaves its room: that is no reason to replace it"
    assert await host.agents.check() == []
    assert pings == 1
    assignment = Assignment(session_id=warm_id(1), fence=7, user_id="user-1")
    assert not (await host.agents.assign(assignment)).accepted
    assert host.agents.count == 1, "it has its place until it is gone"


@pytest.mark.parametrize(("busy", "looks"), [("", 3), ("..b", 6), ("bbbbb", 8)])
async def test_one_that_is_idle_and_does_not_answer_is_given_up(
    host: Host, busy: str, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looked at, at first it is sometimes busy (b): it lacks a processor, and its answer may come."""
    agent, seen = await _waiting(host), 0

    def look(_: object) -> bool:
        nonlocal seen
        seen += 1
        return busy[seen - 1 : seen] == "b"

    monkeypatch.setattr(late, "LOOK_S", 0.0)
    monkeypatch.setattr(late, "awaits_processor", look)
    answer = await host.agents.assign(Assignment(session_id=warm_id(1), fence=7, user_id="user-1"))
    assert (answer.accepted, answer.reason) == (False, "the agent did not acknowledge")
    assert seen == looks
    assert agent.ending is None, "that is for whoever asked"


async def test_one_whose_line_is_on_its_way_is_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is idle meanwhile; from then on it has as long as any other."""
    agent, looks = await _waiting(host), 0

    def look(_: object) -> bool:
        nonlocal looks
        looks += 1
        if looks == 5:
            host.says_hello(warm_id(1), host.zygote.processes[0], "ready")
        if looks == 6:
            agent.acknowledged(Assigned(fence=7, accepted=True))
        return False

    monkeypatch.setattr(late, "LOOK_S", 0.0)
    monkeypatch.setattr(late, "awaits_processor", look)
    assert agent.writer is not None
    agent.detach(agent.writer)
    answer = await host.agents.assign(Assignment(session_id=warm_id(1), fence=7, user_id="user-1"))
    assert (answer.accepted, looks) == (True, 6)


async def test_one_without_a_line_is_given_up_and_not_asked_when_it_comes_back(
    host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(late, "LOOK_S", 0.0)
    monkeypatch.setattr(late, "awaits_processor", lambda _: False)
    agent = await _waiting(host)
    assert agent.writer is not None
    agent.detach(agent.writer)
    answer = await host.agents.assign(Assignment(session_id=warm_id(1), fence=7, user_id="user-1"))
    assert (answer.accepted, answer.reason) == (False, "the agent has no line to its host")
    host.says_hello(warm_id(1), host.zygote.processes[0], "ready")
    assert b"assign" not in cast("FakeWriter", agent.writer).written


async def test_a_busy_one_is_waited_for(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    agent, looks = await _waiting(host), 0

    def look(_: object) -> bool:
        nonlocal looks
        looks += 1
        if looks == 20:
            agent.acknowledged(Assigned(fence=7, accepted=True))
        return True

    monkeypatch.setattr(late, "LOOK_S", 0.0)
    monkeypatch.setattr(late, "awaits_processor", look)
    assert (await host.agents.assign(Assignment(session_id=warm_id(1), fence=7, user_id="user-1"))).accepted
    await asyncio.sleep(0.01)
    assert looks == 20, "it is not looked at any more"


@pytest.mark.parametrize(("is_busy", "answers", "stays"), [(True, [0, 1], 1), (True, [0, 0], 0), (False, [0, 1], 0)])
async def test_a_busy_one_has_longer_to_answer_a_health_check(
    host: Host, is_busy: bool, answers: list[int], stays: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent, left = await _waiting(host), list(answers)

    async def ping(_: float) -> bool:
        return bool(left.pop(0))

    monkeypatch.setattr(agent, "ping", ping)
    monkeypatch.setattr(late, "awaits_processor", lambda _: is_busy)
    checking = asyncio.create_task(host.agents.check())
    if not stays:
        async with asyncio.timeout(PATIENCE_S):
            while agent.ending is None:
                await asyncio.sleep(0)
        _die(host)
    assert await checking == ([] if stays else [warm_id(1)])


async def test_many_share_what_a_few_may_have(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[int, int]] = []
    may = True

    def be_nice(pid: int, nice: int) -> bool:
        told.append((pid, nice))
        return may

    monkeypatch.setattr(module, "be_nice", be_nice)
    agent = await _waiting(host)
    pid = agent.process.pid
    host.agents.share_processors()
    assert told == [(pid, AgentLimits().nice)], "once"
    monkeypatch.setattr(module, "group_niceness", lambda nice, agents: nice + agents)
    may = False
    host.agents.share_processors()
    may = True
    host.agents.share_processors()
    host.agents.share_processors()
    assert told[1:] == [(pid, AgentLimits().nice + 1)] * 2, "until it is"


@pytest.mark.parametrize("ends", ["its time is up", "it is ended"])
async def test_one_that_says_it_leaves_and_stays_is_ended(
    host: Host, ends: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LEAVE_TIMEOUT_S", 0.01 if ends == "its time is up" else PATIENCE_S)
    session_id, agent = await _in_call(host)
    host.agents.leaving(agent, Leaving(reason="the user left"))
    if ends == "it is ended":
        await host.agents.end(agent, "ended by its caller")
    async with asyncio.timeout(PATIENCE_S):
        await agent.dead.wait()
    await host.settle()
    session = await host.store.get(session_id)
    assert session is not None
    reason = "the user left" if ends == "its time is up" else "ended by its caller"
    assert (session.state, session.end_reason, host.queue.spawned) == (SessionState.ENDED, reason, [])


async def test_one_that_says_it_failed_and_stays_is_replaced(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAVE_TIMEOUT_S", 0.01)
    session_id, agent = await _in_call(host)
    host.agents.leaving(agent, Leaving(reason="ValueError: no voice", ok=False))
    async with asyncio.timeout(PATIENCE_S):
        await agent.dead.wait()
    await host.settle()
    session = await host.store.get(session_id)
    assert session is not None
    assert (session.state, session.replacements) == (SessionState.ASSIGNED, 1)
    assert set(host.queue.spawned) == {(session_id, True)}


async def test_one_that_opens_lines_without_end_is_ended_and_no_other(host: Host) -> None:
    agent = await _waiting(host)
    other = asyncio.create_task(host.agents.spawn(spawn(warm_id(2))))
    host.says_hello(warm_id(2), await forked(host, 2), "ready")
    assert (await other).ok
    for _ in range(AT_ONCE):
        host.agents.dialled(agent.process.pid)
    assert agent.ending is None, "one whose line breaks opens it ten times a second"
    for _ in range(50):
        host.agents.dialled(agent.process.pid)
    async with asyncio.timeout(PATIENCE_S):
        await agent.dead.wait()
    await host.settle()
    session = await host.store.get(warm_id(1))
    assert session is not None
    assert (session.state, session.error) == (SessionState.FAILED, "it opens lines to its host without end")
    assert [each.session_id for each in host.agents.all()] == [warm_id(2)]


async def test_what_it_says_of_its_end_is_masked_and_cut(host: Host) -> None:
    agent = await _waiting(host)
    host.agents.leaving(agent, Leaving(reason="redis://me:secret-word@redis " + "x" * 10_000))
    assert agent.word is not None
    assert "secret-word" not in agent.word.reason
    assert len(agent.word.reason) == 500


async def test_a_death_by_a_signal_without_a_name_is_reported(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "EXIT_STATUS_WAIT_S", PATIENCE_S)
    agent = await _waiting(host)
    process = host.zygote.processes[0]
    process.send_signal(signal.SIGRTMIN + 1)
    host.agents.exit_status(process.pid, await asyncio.to_thread(process.wait))
    async with asyncio.timeout(PATIENCE_S):
        await agent.dead.wait()
    await host.settle()
    session = await host.store.get(warm_id(1))
    assert session is not None
    assert (session.state, session.error) == (SessionState.FAILED, "the agent process died (signal 35)")


async def test_one_that_was_replaced_is_ended_and_leaves_session_and_room_alone(host: Host) -> None:
    session_id, agent = await _in_call(host)
    mine = AgentIdentity("host-1", "boot-1", agent.process.pid, agent.process.start_ticks)
    await host.replacer.agent_died(session_id, mine, "its host is lost", "host_lost")

    assert await host.agents.reconcile(agent) is False
    await asyncio.sleep(0)
    _die(host)
    await agent.dead.wait()
    await host.settle()

    session = await host.store.get(session_id)
    assert session is not None
    assert (session.state, session.replacements) == (SessionState.ASSIGNED, 1)
    assert (host.queue.spawned, host.rooms.deleted) == ([(session_id, True)], [])


async def test_the_successor_of_one_that_still_lives_here_is_another_process(host: Host) -> None:
    """The host was taken for lost, and then its own worker was given the spawn."""
    session_id, agent = await _in_call(host)
    mine = AgentIdentity("host-1", "boot-1", agent.process.pid, agent.process.start_ticks)
    await host.replacer.agent_died(session_id, mine, "its host is lost", "host_lost")

    waiting = asyncio.create_task(host.agents.spawn(spawn(session_id)))
    second = await forked(host, 2)
    host.says_hello(session_id, second, "ready")
    assert (await waiting).pid == second.pid
    assert agent.dead.is_set()


async def test_a_process_that_nobody_knows_is_believed_with_its_proof_alone(host: Host) -> None:
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    host.zygote.processes.append(process)
    files = AgentFiles(host.folder, log_max_bytes=10_000)
    said = {"session_id": warm_id(1), "pid": process.pid, "start_ticks": start_ticks(process.pid), "phase": "ready"}
    for proof in ("", "0" * 64, "é" * 64, files.proof(warm_id(2))):
        stranger = Hello(**said, created_at=1.0, startup_s=0.1, proof=proof)
        assert host.agents.hello(stranger, FakeWriter()) is None  # type: ignore[arg-type]
        assert len(host.agents) == 0
    host.says_hello(warm_id(1), process, "ready")
    assert len(host.agents) == 1


async def test_one_that_is_stopped_fails_its_session_with_the_reason(host: Host) -> None:
    spawning = asyncio.create_task(host.agents.spawn(spawn()))
    host.says_hello(warm_id(1), await forked(host), "ready")
    assert (await spawning).ok
    [agent] = host.agents.all()
    host.agents.stop_soon(agent, "it uses 900 MB of memory")
    await agent.dead.wait()
    await host.settle()
    session = await host.store.get(warm_id(1))
    assert session is not None
    assert (session.state, session.error) == (SessionState.FAILED, "it uses 900 MB of memory")


async def test_what_an_agent_measured_is_told_and_its_call_counted_when_it_is_over(host: Host) -> None:
    session_id = warm_id(1)
    waiting = asyncio.create_task(host.agents.spawn(spawn(session_id)))
    host.says_hello(session_id, await forked(host), "ready")
    assert (await waiting).ok
    await beat(host.hosts)
    await host.store.claim(start_request(), "reply")
    assert await host.store.mark_active(session_id)
    agent = host.agents.get(session_id)
    assert agent is not None
    for _ in range(2):  # its line broke, and it says it again
        host.agents.measured(agent, Measured(seq=1, barge_ins=3))

    await host.store.finish(session_id, SessionState.ENDED, "ended by its caller")
    await host.agents.end(agent, "ended by its caller")
    await host.settle()
    await host.settle()

    found = await host.measures.observations()
    assert found["barge_ins|default|"] == 3
    assert found["session_seconds|default||count"] == found["call_usd|default||count"] == 1
