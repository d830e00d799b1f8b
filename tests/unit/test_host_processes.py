"""Processes are watched and signalled by who they are, not by their number."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from contract.procfs import private_bytes, start_ticks
from orchestrator.host.processes import ProcessId, Table, awaits_processor, is_alive, kill_family, open_pidfd, send
from tests.support.servers import wait_until

SLEEPER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
# A session leader with one child in its session and one that left it; prints the PIDs of both.
FAMILY = """
import subprocess, time
member = subprocess.Popen(["sleep", "600"])
other = subprocess.Popen(["sleep", "600"], start_new_session=True)
print(member.pid, other.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEPER, stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield process
        process.kill()


def identity(pid: int) -> ProcessId:
    return ProcessId(pid, start_ticks(pid))


def state(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/stat") as stat:  # noqa: PTH123
            return stat.read().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_dead(pid: int) -> bool:
    return state(pid) in {"", "Z"}


BUSY = """
import threading, time
def spin():
    while True:
        pass
print("up", flush=True)
threading.Thread(target=spin).start() if {beside} else spin()
"""


def test_one_that_is_idle_awaits_no_processor(sleeper: subprocess.Popen[bytes]) -> None:
    wait_until(lambda: not awaits_processor(identity(sleeper.pid)), what="it sleeps")
    process = identity(sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    assert not awaits_processor(process)


@pytest.mark.parametrize("beside", [False, True], ids=["its main thread", "another thread"])
def test_one_that_is_busy_does_until_it_is_stopped(beside: bool) -> None:
    with subprocess.Popen([sys.executable, "-c", BUSY.format(beside=beside)], stdout=subprocess.PIPE) as process:
        wait_until(lambda: awaits_processor(identity(process.pid)), what="it spins")
        process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not awaits_processor(identity(process.pid)), what="it was stopped")
        process.kill()


def test_a_process_is_itself_only(sleeper: subprocess.Popen[bytes]) -> None:
    me = identity(sleeper.pid)
    assert is_alive(me)
    assert not is_alive(replace(me, start_ticks=me.start_ticks - 1)), "the number was another's before"


def test_a_zombie_does_not_live(sleeper: subprocess.Popen[bytes]) -> None:
    me = identity(sleeper.pid)
    sleeper.send_signal(signal.SIGKILL)
    wait_until(lambda: state(me.pid) == "Z", what="it is a zombie")
    assert not is_alive(me)
    assert open_pidfd(me) is None
    sleeper.wait()
    assert not is_alive(me)
    assert open_pidfd(me) is None


def test_a_descriptor_tells_of_the_death(sleeper: subprocess.Popen[bytes]) -> None:
    pidfd = open_pidfd(identity(sleeper.pid))
    assert pidfd is not None
    assert select.select([pidfd], [], [], 0) == ([], [], [])
    send(pidfd, signal.SIGKILL)
    assert select.select([pidfd], [], [], 10)[0] == [pidfd]
    sleeper.wait()
    send(pidfd, signal.SIGKILL)  # nobody is there: nothing happens
    os.close(pidfd)


def test_without_a_descriptor_nobody_is_signalled() -> None:
    send(None, signal.SIGKILL)


def test_another_start_time_opens_no_descriptor(sleeper: subprocess.Popen[bytes]) -> None:
    me = identity(sleeper.pid)
    before = sum(1 for _ in Path("/proc/self/fd").iterdir())
    assert open_pidfd(replace(me, start_ticks=me.start_ticks + 1)) is None
    assert sum(1 for _ in Path("/proc/self/fd").iterdir()) == before, "no descriptor is left open"


@pytest.mark.parametrize("off_by", [-1, 1])
def test_a_reused_number_is_never_signalled(sleeper: subprocess.Popen[bytes], off_by: int) -> None:
    me = identity(sleeper.pid)
    assert kill_family(replace(me, start_ticks=me.start_ticks + off_by)) == 0
    assert is_alive(me)
    assert sleeper.poll() is None


def test_all_of_a_dead_leaders_session_is_killed_and_nobody_else() -> None:
    with ExitStack() as stack:
        leader = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, start_new_session=True)
        )
        assert leader.stdout is not None
        member, other = (int(pid) for pid in leader.stdout.readline().split())
        stack.callback(os.kill, other, signal.SIGKILL)
        me = identity(leader.pid)
        leader.kill()
        leader.wait()

        assert kill_family(me) == 1

        wait_until(lambda: is_dead(member), what="the member is dead")
        assert not is_dead(other), "it left the session"


@pytest.fixture
def relatives() -> Iterator[tuple[ProcessId, ProcessId, ProcessId]]:
    """A session's leader, a member, and a child in a session of its own."""
    with ExitStack() as stack:
        leader = stack.enter_context(
            subprocess.Popen([sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, start_new_session=True)
        )
        assert leader.stdout is not None
        member, other = (identity(int(pid)) for pid in leader.stdout.readline().split())
        yield identity(leader.pid), member, other
        kill_family(identity(leader.pid), [member, other])


def test_who_left_the_session_is_of_the_family(relatives: tuple[ProcessId, ...]) -> None:
    leader, member, other = relatives
    assert Table().family([leader]) == {leader, member, other}
    assert kill_family(leader) == 3
    wait_until(lambda: all(is_dead(process.pid) for process in relatives), what="all are dead")


def test_who_left_the_session_is_found_after_the_leaders_death_when_it_was_seen_before(
    relatives: tuple[ProcessId, ...],
) -> None:
    leader, member, other = relatives
    seen = Table().family([leader])
    os.kill(leader.pid, signal.SIGKILL)
    wait_until(lambda: is_dead(leader.pid), what="the leader is dead")
    assert kill_family(leader, seen) == 2
    wait_until(lambda: is_dead(member.pid) and is_dead(other.pid), what="all are dead")


def test_a_reused_number_brings_nobody_into_a_family(relatives: tuple[ProcessId, ...]) -> None:
    leader, member, _ = relatives
    former = replace(leader, start_ticks=leader.start_ticks - 1)
    assert Table().family([former]) == frozenset()
    assert kill_family(former, [replace(member, start_ticks=1)]) == 0
    assert all(is_alive(process) for process in relatives)


def test_a_session_without_members_is_no_error() -> None:
    with subprocess.Popen(["true"], start_new_session=True) as process:
        me = identity(process.pid)
        process.wait()
    assert kill_family(me) == 0


def test_private_memory_is_read_from_the_kernel(sleeper: subprocess.Popen[bytes]) -> None:
    assert 100_000 < private_bytes(sleeper.pid) < 500_000_000
    sleeper.kill()
    sleeper.wait()
    assert private_bytes(sleeper.pid) == 0
