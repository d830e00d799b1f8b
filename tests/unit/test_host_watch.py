"""What an agent uses, with all that it started, looked at from outside; and what is nobody's any more."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contract.procfs import start_ticks
from orchestrator.host import watch as module
from orchestrator.host.agent import Agent
from orchestrator.host.agent_files import LastWord
from orchestrator.host.processes import ProcessId, kill_family
from orchestrator.host.watch import WATCH_S, Bounds, Watch, look
from tests.support.records import warm_id
from tests.support.servers import wait_until

OWN_MB = 50
BEGIN = "import mmap, os, subprocess, sys, time\n"
SLEEP = "\nprint('ready', flush=True); time.sleep(600)"
SHARED = "kept = mmap.mmap(-1, 50_000_000); kept.write(b'x' * 50_000_000)"
CHILDREN = """
for _ in range(4):
    ready, is_ready = os.pipe()
    if os.fork() == 0:
        kept = b'x' * 50_000_000
        os.write(is_ready, b'x')
        time.sleep(600)
    os.read(ready, 1)
"""
SHARES = """
kept = b'x' * 50_000_000
for _ in range(4):
    if os.fork() == 0:
        time.sleep(600)
"""
SESSIONS = "kept = [subprocess.Popen(['sleep', '600'], start_new_session=True) for _ in range(3)]"
DAEMON = """
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(600)
    os._exit(0)
os.wait()
"""
NO_BOUNDS = Bounds(10_000, 10_000)
FROZEN_LOOKS = 3

Start = Callable[[str], ProcessId]


@pytest.fixture
def start() -> Iterator[Start]:
    """Runs a program in a session of its own, until it is ready."""
    started = []

    def run(program: str) -> ProcessId:
        argv = [sys.executable, "-c", BEGIN + program + SLEEP]
        process = subprocess.Popen(argv, start_new_session=True, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        process.stdout.readline()
        return ProcessId(process.pid, start_ticks(process.pid))

    yield run
    for process in started:
        kill_family(ProcessId(process.pid, start_ticks(process.pid)))
        process.communicate()


def overrun(leader: ProcessId, memory_mb: int, processes: int = 100) -> str | None:
    found = look({leader: ()}, {leader: Bounds(memory_mb, processes)}, os.getpid()).overruns
    assert found.keys() <= {leader}
    return found.get(leader)


@pytest.mark.parametrize(
    ("program", "at_least_mb"),
    [(f"kept = b'x' * {OWN_MB}_000_000", OWN_MB), (SHARED, OWN_MB), (CHILDREN, 4 * OWN_MB)],
    ids=["its own", "shared maps", "its children's together"],
)
def test_all_memory_of_an_agent_counts(start: Start, program: str, at_least_mb: int) -> None:
    leader = start(program)
    words = overrun(leader, int(at_least_mb * 0.9))
    assert words is not None
    assert words.startswith("it uses ")
    assert words.endswith(f" MB of memory; {int(at_least_mb * 0.9)} are allowed (AGENT_MEMORY_MB)")
    assert overrun(leader, at_least_mb + 100) is None


def test_what_its_processes_share_counts_once(start: Start) -> None:
    assert overrun(start(SHARES), 2 * OWN_MB) is None


def test_where_the_kernel_does_not_tell_what_is_shared_all_of_it_counts(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    leader, read = start(SHARES), Path.read_text

    def refuse(path: Path, **how: Any) -> str:
        if path.name == "smaps_rollup":
            raise PermissionError(path)
        return read(path, **how)

    monkeypatch.setattr(Path, "read_text", refuse)
    assert overrun(leader, 4 * OWN_MB) is not None


def test_what_is_too_much_for_a_moment_is_not(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that is being started shows its parent's memory until it runs."""
    monkeypatch.setattr(module, "resident_bytes", lambda _: 10**12)
    assert overrun(start(""), 200) is None


def test_processes_in_sessions_of_their_own_count(start: Start) -> None:
    leader = start(SESSIONS)
    assert overrun(leader, 500, 4) is None
    assert overrun(leader, 500, 3) == "it has 4 processes; 3 are allowed (AGENT_PROCESSES)"


NAMED = """
import ctypes
ctypes.CDLL(None).prctl(15, %r, 0, 0, 0)
kept = b"x" * 50_000_000
"""


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\x0bVmSwap: x", b"a) R 1 (b"], ids=ascii)
def test_what_one_calls_itself_is_no_matter(start: Start, name: bytes) -> None:
    leader = start(NAMED % name)
    assert overrun(leader, OWN_MB - 5) is not None
    assert overrun(leader, OWN_MB + 100) is None


def test_nobody_is_nothing() -> None:
    assert look({}, {}, os.getpid()).overruns == {}


@pytest.fixture
def host(start: Start) -> ProcessId:
    """A process that adopts, as a host does, with an agent that leaves a process behind and one in its own session."""
    agent = f"import os, time{chr(10)}{DAEMON}time.sleep(600)"
    program = "sys.path.insert(0, os.getcwd()); from contract.prctl import become_subreaper; become_subreaper()\n"
    program += f"subprocess.Popen([sys.executable, '-c', {agent!r}], start_new_session=True)\n"
    program += "subprocess.Popen(['sleep', '600'])"
    return start(program)


def children(process: ProcessId) -> list[ProcessId]:
    text = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    return [ProcessId(int(pid), start_ticks(int(pid))) for pid in text.split()]


def test_what_is_nobodys_is_found(host: ProcessId) -> None:
    wait_until(lambda: len(children(host)) == 3, what="the agent left one behind")
    agent, zygote, left = sorted(children(host), key=lambda process: process.pid)
    seen = look({agent: ()}, {agent: NO_BOUNDS}, host.pid)
    assert list(seen.strays) == [left]
    assert zygote not in seen.families[agent]

    later = look({agent: {left}}, {agent: NO_BOUNDS}, host.pid)
    assert list(later.strays) == [], "whose it is was seen while its parent lived"
    assert left in later.families[agent]
    assert sorted(p.pid for p in look({}, {}, host.pid).strays) == sorted([agent.pid, left.pid])


class Agents:
    def __init__(self, *agents: Agent) -> None:
        self.agents = list(agents)
        self.stopped: list[str] = []
        self.given_up: list[str] = []

    def all(self) -> list[Agent]:
        return self.agents

    def stop_soon(self, agent: Agent, reason: str) -> None:
        self.stopped.append(reason)

    def give_up(self, agent: Agent, reason: str) -> None:
        self.given_up.append(agent.session_id)
        agent.ending = reason


def watch_of(agents: Agents, bounds: Callable[[Agent], Bounds] = lambda _: NO_BOUNDS) -> Watch:
    return Watch(agents, bounds, frozen_s=FROZEN_LOOKS * WATCH_S)


async def test_a_look_remembers_families_and_stops_who_is_over_its_bounds(start: Start) -> None:
    sound, greedy, ending = (Agent(warm_id(i), start(SESSIONS), None, 1.0) for i in range(3))
    ending.ending = "told to"
    agents = Agents(sound, greedy, ending)
    most = {sound.session_id: 4}
    await watch_of(agents, lambda agent: Bounds(10_000, most.get(agent.session_id, 3))).look()
    assert agents.stopped == ["it has 4 processes; 3 are allowed (AGENT_PROCESSES)"]
    assert [len(agent.family) for agent in agents.all()] == [4, 4, 4]


@pytest.mark.parametrize("word", [LastWord("the user left", ok=True), LastWord("it broke", ok=False)])
async def test_one_that_says_it_leaves_has_its_bounds_as_long_as_it_stays(start: Start, word: LastWord) -> None:
    agents = Agents(Agent(warm_id(1), start(SESSIONS), None, 1.0, word=word))
    await watch_of(agents, lambda _: Bounds(10_000, 3)).look()
    assert agents.stopped == ["it has 4 processes; 3 are allowed (AGENT_PROCESSES)"]


def pause(process: ProcessId) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    wait_until(lambda: state(process) == "T", what="it is stopped")


def state(process: ProcessId) -> str:
    return Path(f"/proc/{process.pid}/stat").read_text().split()[2]


async def test_one_that_is_stopped_for_too_many_looks_is_given_up_once(start: Start) -> None:
    stopped, well = (Agent(warm_id(i), start(""), None, 1.0, phase="active") for i in range(2))
    agents = Agents(stopped, well)
    watch = watch_of(agents)
    pause(stopped.process)
    for _ in range(FROZEN_LOOKS):
        await watch.look()
    assert agents.given_up == [], "it may still go on in time"
    for _ in range(2):
        await watch.look()
    assert agents.given_up == [stopped.session_id]


async def test_one_that_was_stopped_before_its_host_took_it_up_is_given_up(start: Start) -> None:
    """How far it is, it would say on its line; which it cannot open."""
    agents = Agents(Agent(warm_id(1), start(""), None, 1.0, taken_up=True))
    watch = watch_of(agents)
    pause(agents.all()[0].process)
    for _ in range(FROZEN_LOOKS + 1):
        await watch.look()
    assert agents.given_up == [warm_id(1)]


async def test_it_is_given_up_after_its_alarm_and_not_before(start: Start) -> None:
    agents = Agents(Agent(warm_id(1), start(""), None, 1.0, phase="active"))
    watch = Watch(agents, lambda _: NO_BOUNDS, frozen_s=2.5 * WATCH_S)
    pause(agents.all()[0].process)
    for _ in range(3):
        await watch.look()
    assert agents.given_up == []
    await watch.look()
    assert agents.given_up == [warm_id(1)]


async def test_one_that_went_on_meanwhile_is_not(start: Start) -> None:
    agent = Agent(warm_id(1), start(""), None, 1.0, phase="ready")
    agents = Agents(agent)
    watch = watch_of(agents)
    for _ in range(2):
        pause(agent.process)
        for _ in range(FROZEN_LOOKS):
            await watch.look()
        os.kill(agent.process.pid, signal.SIGCONT)
        wait_until(lambda: state(agent.process) != "T", what="it goes on")
        await watch.look()
    assert agents.given_up == []


async def test_one_that_joins_or_ends_is_others_to_wait_for(start: Start) -> None:
    joining = Agent(warm_id(1), start(""), None, 1.0)
    leaving = Agent(warm_id(2), start(""), None, 1.0, phase="active", word=LastWord("the user left", ok=True))
    agents = Agents(joining, leaving)
    watch = watch_of(agents)
    for agent in agents.all():
        pause(agent.process)
    for _ in range(FROZEN_LOOKS + 2):
        await watch.look()
    assert agents.given_up == []


async def test_a_look_that_failed_is_not_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    watch, looks = watch_of(Agents()), asyncio.Semaphore(0)
    monkeypatch.setattr(module, "WATCH_S", 0.0)

    def fails(*_: object) -> None:
        looks.release()
        raise OSError("no file descriptor is free")

    monkeypatch.setattr(module, "look", fails)
    running = asyncio.create_task(watch.run())
    async with asyncio.timeout(20):
        for _ in range(3):
            await looks.acquire()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_a_look_kills_what_is_nobodys(host: ProcessId, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    wait_until(lambda: len(children(host)) == 3, what="the agent left one behind")
    first, zygote, left = sorted(children(host), key=lambda process: process.pid)
    monkeypatch.setattr(module.os, "getpid", lambda: host.pid)
    agent = Agent(warm_id(1), first, None, 1.0)
    await watch_of(Agents(agent)).look()
    wait_until(lambda: state(left) == "Z", what="it is dead")
    assert {process.pid for process in children(host)} == {first.pid, zygote.pid, left.pid}
