"""Who may ask the host for something, and who is only an agent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from orchestrator.host import peers
from orchestrator.host.peers import NOBODYS, Peer, Strangers

NEVER = 2**22 + 1
"""Above the kernel's largest PID."""


@pytest.fixture
def family() -> Iterator[tuple[int, int]]:
    """A program in a session of its own, and one that it started in yet another one."""
    child = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
    program = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(600)"
    process = subprocess.Popen([sys.executable, "-c", program], start_new_session=True, stdout=subprocess.PIPE)
    assert process.stdout is not None
    started = int(process.stdout.readline())
    yield process.pid, started
    for pid in (started, process.pid):
        os.kill(pid, signal.SIGKILL)
    process.communicate()


def test_a_worker_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.os, "getpid", lambda: NEVER)  # else it would be the host's own
    assert Strangers(set, None).owner(Peer(os.getppid(), os.getuid())) is None


def test_an_agent_and_what_it_started_are(family: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.os, "getpid", lambda: NEVER)
    for pid in family:
        assert Strangers(lambda: {family[0]}, None).owner(Peer(pid, 0)) == family[0]
        assert Strangers(set, None).owner(Peer(pid, 0)) is None


def test_whatever_descends_from_the_host_is(family: tuple[int, int]) -> None:
    """An agent's orphans become its children, and nobody can tell whose they were."""
    assert Strangers(set, None).owner(Peer(family[1], 0)) == NOBODYS


FORKED = """
import os, subprocess, sys, time
child = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
if os.fork() == 0:
    os.setsid()
    subprocess.Popen([sys.executable, "-c", child])
    print(os.getpid(), flush=True)
time.sleep(600)
"""


def test_one_whose_fork_was_not_told_yet_is_known_by_its_zygote() -> None:
    """A zygote is the host's child in the host's session, and what it forked leads a session of its own."""
    with subprocess.Popen([sys.executable, "-c", FORKED], stdout=subprocess.PIPE) as zygote:
        assert zygote.stdout is not None
        told = [int(zygote.stdout.readline()) for _ in range(2)]
        agent = next(pid for pid in told if os.getsid(pid) == pid)
        found = [Strangers(set, None).owner(Peer(pid, 0)) for pid in told]
        for pid in (*told, zygote.pid):
            os.kill(pid, signal.SIGKILL)
    assert found == [agent, agent]


def test_who_is_gone_is() -> None:
    assert Strangers(set, None).owner(Peer(NEVER, 0)) == NOBODYS


def test_every_process_of_the_agents_user_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.os, "getpid", lambda: NEVER)
    strangers = Strangers(set, 65534)
    assert strangers.owner(Peer(os.getppid(), 65534)) == NOBODYS
    assert strangers.owner(Peer(os.getppid(), os.getuid())) is None
