"""What an agent's process is limited to, and hidden from, tried in processes of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.host.agent_user import AgentUser
from orchestrator.settings import SettingsError

TOP = Path(__file__).parents[2]

CONFINED = """
import json, os, resource
from agent.confine import confine, limit_processes
from contract.messages import AgentLimits
confine(AgentLimits(memory_mb=200, open_files=100, nice=3))
limit_processes(77)
limits = {name: resource.getrlimit(getattr(resource, "RLIMIT_" + name)) for name in ("CORE", "NOFILE", "NPROC", "DATA")}
try:
    bytearray(1400 * 2**20)
    memory = "given"
except MemoryError:
    memory = "refused"
comm = open("/proc/self/comm").read().strip()
print(json.dumps({**limits, "nice": os.nice(0), "memory": memory, "comm": comm, "uid": os.geteuid()}))
"""

SEES = """
import os, sys
from contract.prctl import hide
def forked(run):
    pid = os.fork()
    if pid == 0:
        try: run()
        finally: os._exit(1)
    return pid
def as_nobody():
    if os.geteuid() == 0: os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
    import ctypes; ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as any program is when it was started
ready, is_ready = os.pipe()
def secret():
    as_nobody()
    if sys.argv[1] == "hidden": hide()
    os.write(is_ready, b"x"); import time; time.sleep(600)
victim = forked(secret)
os.read(ready, 1)
def look():
    as_nobody()
    try: open(f"/proc/{victim}/environ").read(); said = b"read"
    except PermissionError: said = b"refused"
    os.write(1, said); os._exit(0)
os.waitpid(forked(look), 0)
os.kill(victim, 9)
"""


def run(program: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments], cwd=TOP, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_limits() -> None:
    found: dict[str, Any] = json.loads(run(CONFINED))
    assert found["CORE"] == [0, 0]
    assert found["NOFILE"] == [100, 100]
    assert found["memory"] == "refused"
    assert (found["nice"] - os.nice(0), found["comm"]) == (3, "greenroom-agent")
    assert (found["NPROC"] == [77, 77]) is (found["uid"] != 0), "the kernel bounds no root"


@pytest.mark.parametrize(("how", "said"), [("hidden", "refused"), ("plain", "read")])
def test_a_hidden_process_is_not_read_by_its_like(how: str, said: str) -> None:
    assert run(SEES, how) == said


@pytest.mark.parametrize(
    ("name", "words"), [("no-such-user", "there is no user 'no-such-user'"), ("root", "without privileges")]
)
def test_a_user_that_agents_cannot_run_as(name: str, words: str) -> None:
    with pytest.raises(SettingsError, match=f"^AGENT_USER: .*{words}"):
        AgentUser.find(name)


def test_only_root_starts_programs_as_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SettingsError, match="only a host that runs as root"):
        AgentUser.find("nobody")


def test_a_user_that_cannot_reach_what_it_needs_is_told_what(tmp_path: Path) -> None:
    me = AgentUser("me", os.getuid(), os.getgid(), str(tmp_path))
    me.check([tmp_path], dict(os.environ))
    with pytest.raises(SettingsError, match=r"AGENT_USER: me has to reach .*missing; it cannot \(FileNotFoundError"):
        me.check([tmp_path / "missing"], dict(os.environ))
