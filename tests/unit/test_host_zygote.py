"""The host's side of the zygote, over small stand-ins for it that do one thing wrong."""

from __future__ import annotations

import asyncio
import os
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from contract.messages import AgentLimits, Fork
from orchestrator.host import zygote as module
from orchestrator.host.zygote import Successor, Zygote, ZygoteCommand, ZygoteUnavailableError
from tests.support.records import warm_id
from tests.support.servers import wait_until

LONG_S = 30.0
SOON_S = 0.1

COMMON = """
import argparse, json, os, socket, sys, time
options = argparse.ArgumentParser()
options.add_argument("--fd", type=int)
options.add_argument("--home")
options.add_argument("--agent")
host = socket.socket(fileno=options.parse_args().fd)
def say(**message):
    host.sendall(json.dumps({"v": 1, **message}).encode() + b"\\n")
def requests():
    for line in host.makefile():
        yield json.loads(line)
def sleeper():
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.execvp("sleep", ["sleep", "600"])
    ticks = int(open(f"/proc/{pid}/stat").read().rpartition(")")[2].split()[19])
    return pid, ticks
lives = open("lives", "a+"); lives.write("x"); lives.flush()
life = os.path.getsize("lives")
"""
READY = 'say(type="zygote_ready", pid=os.getpid(), preload_s=0.0)\n'


class Running:
    def __init__(self, zygote: Zygote, command: ZygoteCommand, folder: Path) -> None:
        self.zygote = zygote
        self.command = command
        self.folder = folder
        self.exits: list[tuple[int, int]] = []
        self.ready = 0

    async def renew(self, program: str, timeout_s: float = LONG_S) -> None:
        """Put a zygote with this program in the place of the one that runs."""
        name = f"fake_zygote_{self.ready}"
        (self.folder / f"{name}.py").write_text(COMMON + textwrap.dedent(program))
        await self.zygote.take_over(await Successor.load(replace(self.command, module=name), timeout_s))


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], object]:
    """Runs a zygote whose program is this text."""
    monkeypatch.setattr(module, "RESTART_S", (0.01,))
    # Its "lives" file is in the working directory.
    monkeypatch.chdir(tmp_path)

    @asynccontextmanager
    async def running(program: str) -> AsyncIterator[Running]:
        (tmp_path / "fake_zygote.py").write_text(COMMON + textwrap.dedent(program))
        environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
        command = ZygoteCommand("fake_zygote", "agent.assistant:assistant", environment, home="h")

        def on_ready() -> None:
            state.ready += 1

        zygote = Zygote(command, lambda pid, status: state.exits.append((pid, status)), on_ready)
        state = Running(zygote, command, tmp_path)
        task = asyncio.create_task(state.zygote.run())
        try:
            yield state
            assert not task.done(), "it keeps a zygote running, whatever that does"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return running


def request(number: int = 1) -> Fork:
    return Fork(
        session_id=warm_id(number), requested_at=1.0, livekit_url="ws://127.0.0.1:1",
        host_socket="s", log_path="l", last_word_path="w", limits=AgentLimits(),
    )  # fmt: skip


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(LONG_S):
        while not condition():
            await asyncio.sleep(0.005)


def lives(folder: Path) -> int:
    path = folder / "lives"
    return path.stat().st_size if path.exists() else 0


async def test_a_fork_is_answered_also_when_it_was_asked_before_the_zygote_was_ready(run) -> None:
    program = READY + 'for r in requests(): say(type="forked", session_id=r["session_id"], pid=7, start_ticks=8)\n'
    async with run(program) as state:
        forked, generation = await state.zygote.fork(request(), LONG_S)
        assert (forked.pid, forked.start_ticks) == (7, 8)
        assert generation == state.zygote.generation != ""
        assert state.zygote.status == "ready"
        assert state.ready == 1


async def test_the_time_that_the_zygote_took_to_load_is_not_the_agents(run) -> None:
    program = READY + (
        "for r in requests():\n"
        '    say(type="forked", session_id=r["session_id"], pid=7, start_ticks=int(r["requested_at"]))\n'
    )
    async with run(program) as state:
        asked_long_ago = request()
        assert asked_long_ago.requested_at == 1.0
        assert (await state.zygote.fork(asked_long_ago, LONG_S))[0].start_ticks > 1_700_000_000


async def test_forks_asked_for_at_once_are_each_answered(run) -> None:
    program = READY + (
        'for r in requests(): say(type="forked", session_id=r["session_id"], pid=int(r["session_id"][-4:], 16))\n'
    )
    async with run(program) as state:
        forked = await asyncio.gather(*(state.zygote.fork(request(n), LONG_S) for n in range(1, 20)))
        assert [f.pid for f, _ in forked] == list(range(1, 20))
        assert state.zygote._forks == {}


async def test_why_an_agent_cannot_be_loaded_quotes_nobodys_password(run, tmp_path: Path) -> None:
    reason = "no postgres://shop:hunter2@10.0.0.5/db"
    program = f'say(type="zygote_failed", reason="{reason}"); sys.exit(1)\n'
    async with run(program) as state:
        await until(lambda: state.zygote.status.startswith("failed"))
        assert state.zygote.status == "failed: no postgres://[masked]@10.0.0.5/db"


async def test_an_agent_that_cannot_be_loaded_is_said_at_once_and_tried_again(run, tmp_path: Path) -> None:
    program = 'say(type="zygote_failed", reason="ModuleNotFoundError: no such thing"); sys.exit(1)\n'
    async with run(program) as state:
        await until(lambda: state.zygote.status.startswith("failed"))
        assert state.zygote.status == "failed: ModuleNotFoundError: no such thing"
        with pytest.raises(ZygoteUnavailableError, match="no such thing"):
            await state.zygote.fork(request(), LONG_S)
        await until(lambda: lives(tmp_path) >= 3)
        assert state.zygote.status.startswith("failed"), "until one is ready"


async def test_what_was_mended_works_again(run) -> None:
    program = (
        'if life < 3: say(type="zygote_failed", reason="not yet"); sys.exit(1)\n'
        + READY
        + 'for r in requests(): say(type="forked", session_id=r["session_id"], pid=7, start_ticks=8)\n'
    )
    async with run(program) as state:
        await until(lambda: state.zygote.status == "ready")
        assert (await state.zygote.fork(request(), LONG_S))[0].pid == 7


async def test_one_that_dies_before_it_is_ready_is_said_too(run) -> None:
    async with run("os.abort()\n") as state:
        await until(lambda: state.zygote.status.startswith("failed"))
        assert "dies while it loads the agent" in state.zygote.status
        with pytest.raises(ZygoteUnavailableError, match="dies while it loads"):
            await state.zygote.fork(request(), LONG_S)


async def test_a_zygote_that_dies_in_the_middle_of_a_fork_is_started_again(run) -> None:
    program = READY + (
        "for r in requests():\n"
        "    if life == 1: os.kill(os.getpid(), 9)\n"
        '    say(type="forked", session_id=r["session_id"], pid=7, start_ticks=8)\n'
    )
    async with run(program) as state:
        with pytest.raises(ZygoteUnavailableError, match="died"):
            await state.zygote.fork(request(), LONG_S)
        assert (await state.zygote.fork(request(), LONG_S))[0].pid == 7
        assert state.ready == 2


@pytest.mark.parametrize(
    "nonsense",
    [
        'host.sendall(b"nonsense\\n")',
        'host.sendall(b"\\xff\\n")',
        'say(type="zygote_ready")',
        'host.sendall(b"x" * 300000)',
        'host.sendall(b\'{"v":2,"type":"exited","pid":1,"status":0}\\n\')',
    ],
)
async def test_a_zygote_that_speaks_nonsense_is_replaced(run, nonsense: str) -> None:
    program = (
        READY
        + f"if life == 1:\n    {nonsense}\n    time.sleep(600)\n"
        + 'for r in requests(): say(type="forked", session_id=r["session_id"], pid=7, start_ticks=8)\n'
    )
    async with run(program) as state:
        await until(lambda: state.ready == 2)
        assert (await state.zygote.fork(request(), LONG_S))[0].pid == 7


async def test_a_message_that_is_none_of_its_own_is_passed_over(run) -> None:
    program = READY + 'say(type="check")\nfor r in requests(): say(type="forked", session_id=r["session_id"], pid=7)\n'
    async with run(program) as state:
        assert (await state.zygote.fork(request(), LONG_S))[0].pid == 7
        assert state.ready == 1


async def test_a_zygote_that_is_never_ready_is_not_waited_for_for_ever(run) -> None:
    async with run("time.sleep(600)\n") as state:
        with pytest.raises(ZygoteUnavailableError, match="not ready") as raised:
            await state.zygote.fork(request(), SOON_S)
        assert raised.value.code == "host_unavailable", "as a host that restarts: its spawns are tried for longer"
        assert state.zygote._forks == {}


async def test_a_fork_that_nobody_waits_for_any_more_is_killed(run, tmp_path: Path) -> None:
    """Its answer came too late: by then the session may have another agent, and two may not share a room."""
    program = READY + (
        "for r in requests():\n"
        '    while not os.path.exists("go"): time.sleep(0.01)\n'
        "    pid, ticks = sleeper()\n"
        '    open("pid", "w").write(str(pid))\n'
        '    say(type="forked", session_id=r["session_id"], pid=pid, start_ticks=ticks)\n'
        "    os.waitpid(pid, 0)\n"
        '    say(type="exited", pid=pid, status=-9)\n'
    )
    async with run(program) as state:
        await until(lambda: state.ready)
        with pytest.raises(ZygoteUnavailableError):
            await state.zygote.fork(request(), SOON_S)
        (tmp_path / "go").touch()
        await until(lambda: state.exits)
        assert state.exits == [(int((tmp_path / "pid").read_text()), -9)]


async def test_two_answers_to_two_askers_of_one_session_leave_one_agent(run) -> None:
    program = READY + (
        "for r in requests():\n"
        '    while not os.path.exists("go"): time.sleep(0.01)\n'
        "    for _ in range(2):\n"
        "        pid, ticks = sleeper()\n"
        '        say(type="forked", session_id=r["session_id"], pid=pid, start_ticks=ticks)\n'
        "    done, status = os.wait()\n"
        '    say(type="exited", pid=done, status=-9)\n'
    )
    async with run(program) as state:
        waiting = asyncio.create_task(state.zygote.fork(request(), LONG_S))
        await until(lambda: state.ready)
        Path("go").touch()
        forked, _ = await waiting
        await until(lambda: state.exits)
        assert forked.pid is not None
        assert state.exits[0][0] != forked.pid
        assert Path(f"/proc/{forked.pid}").exists()
        os.kill(forked.pid, 9)


async def test_the_zygote_goes_with_its_host(run, tmp_path: Path) -> None:
    program = 'open("pid", "w").write(str(os.getpid()))\n' + READY + "time.sleep(600)\n"
    async with run(program) as state:
        await until(lambda: state.ready)
    pid = int((tmp_path / "pid").read_text())

    def is_gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except (FileNotFoundError, ProcessLookupError):
            return True

    wait_until(is_gone, what="it is gone")


# --- another one takes over ----------------------------------------------------------------------------


def forks_as(pid: int) -> str:
    return READY + f'for r in requests(): say(type="forked", session_id=r["session_id"], pid={pid}, start_ticks=8)\n'


async def test_another_zygote_takes_over_without_a_pause(run, tmp_path: Path) -> None:
    async with run(forks_as(7)) as state:
        forked, first = await state.zygote.fork(request(1), LONG_S)
        assert forked.pid == 7
        await state.renew(forks_as(8))
        forked, second = await state.zygote.fork(request(2), LONG_S)
        assert forked.pid == 8
        assert (second, state.zygote.status) == (state.zygote.generation, "ready")
        assert second != first
        assert lives(tmp_path) == 2, "no restart in between"


async def test_what_cannot_be_loaded_changes_nothing(run) -> None:
    async with run(forks_as(7)) as state:
        _, first = await state.zygote.fork(request(1), LONG_S)
        with pytest.raises(ZygoteUnavailableError, match="no such thing"):
            await state.renew('say(type="zygote_failed", reason="ModuleNotFoundError: no such thing"); sys.exit(1)\n')
        with pytest.raises(ZygoteUnavailableError, match=r"^no postgres://\[masked\]@db$"):
            await state.renew('say(type="zygote_failed", reason="no postgres://shop:hunter2@db"); sys.exit(1)\n')
        with pytest.raises(ZygoteUnavailableError, match="died while it loaded"):
            await state.renew("sys.exit(1)\n")
        with pytest.raises(ZygoteUnavailableError, match="not loaded within"):
            await state.renew("time.sleep(600)\n", 0.2)
        with pytest.raises(ZygoteUnavailableError, match="nonsense"):
            await state.renew('say(type="exited", pid=1, status=0)\n')
        forked, generation = await state.zygote.fork(request(2), LONG_S)
        assert (forked.pid, generation, state.ready) == (7, first, 1)


async def test_forks_under_way_are_answered_before_another_one_takes_over(run, tmp_path: Path) -> None:
    slow = READY + (
        "for r in requests():\n"
        '    while not os.path.exists("go"): time.sleep(0.01)\n'
        '    say(type="forked", session_id=r["session_id"], pid=7, start_ticks=8)\n'
    )
    async with run(slow) as state:
        under_way = asyncio.create_task(state.zygote.fork(request(1), LONG_S))
        await until(lambda: state.zygote._forks)
        renewing = asyncio.create_task(state.renew(forks_as(8)))
        await until(lambda: not state.zygote._ready.is_set())
        asked_meanwhile = asyncio.create_task(state.zygote.fork(request(2), LONG_S))
        (tmp_path / "go").touch()
        assert (await under_way)[0].pid == 7
        await renewing
        assert (await asked_meanwhile)[0].pid == 8


async def test_another_zygote_mends_one_that_could_not_be_loaded(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RESTART_S", (3600.0,))
    async with run('say(type="zygote_failed", reason="broken"); sys.exit(1)\n') as state:
        await until(lambda: state.zygote.status == "failed: broken" and state.zygote._current is None)
        await state.renew(forks_as(8))
        await until(lambda: state.zygote.status == "ready")
        assert (await state.zygote.fork(request(1), LONG_S))[0].pid == 8


async def test_one_that_took_over_and_dies_is_started_again(run, tmp_path: Path) -> None:
    async with run(forks_as(7)) as state:
        await until(lambda: state.ready == 1)
        await state.renew(READY + "if life < 3: sys.exit(1)\n" + forks_as(8).partition("\n")[2])
        await until(lambda: state.ready == 3)
        assert (await state.zygote.fork(request(1), LONG_S))[0].pid == 8
