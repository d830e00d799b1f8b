"""``greenroom run``, as a new user starts it and ends it: two copies side by side, and nothing is left of either."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.servers import free_port, livekit_binary, wait_until

TOP = Path(__file__).parents[2]
READY_S = 130.0
END_S = 60.0


class Copy:
    """One `greenroom run` in a folder and on ports of its own."""

    def __init__(self, folder: Path, **environ: str) -> None:
        folder.mkdir()
        self.folder = folder
        self.home = folder / "home"
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        self.ports = {name: free_port() for name in ("PORT", "REDIS_PORT")}
        self.ports["LIVEKIT_PORT"] = free_port(in_a_row=3)
        livekit_binary()  # built before, or the test ends here and says how
        drop = ("REDIS_URL", "LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "ADMIN_TOKEN")
        inherited = {name: value for name, value in os.environ.items() if name not in drop}
        own = {name: str(port) for name, port in self.ports.items()} | {
            "GREENROOM_HOME": str(self.home),
            "TMPDIR": str(self.temporary),
        }
        self.environ = inherited | own | {"PYTHONPATH": str(TOP), "PREWARM_POOL_SIZE": "1"} | environ
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        argv = [sys.executable, "-m", "orchestrator.cli.main", "run"]
        with (self.folder / "out").open("wb") as out:
            return subprocess.Popen(argv, cwd=self.folder, env=self.environ, stdout=out, stderr=out)

    @property
    def output(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports['PORT']}"

    def until_ready(self) -> None:
        wait_until(
            lambda: "Greenroom is ready" in self.output or self.process.poll() is not None,
            timeout_s=READY_S,
            what=f"ready: {self.output}",
        )
        assert self.process.poll() is None, self.output

    def processes(self) -> set[psutil.Process]:
        """All below it, and all that have its folder in their environment, wherever they went."""
        found = set()
        with contextlib.suppress(psutil.NoSuchProcess):
            found |= set(psutil.Process(self.process.pid).children(recursive=True))
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get("GREENROOM_HOME") == str(self.home):
                    found.add(process)
        return found

    def sockets(self) -> list[Path]:
        return [path for path in self.home.rglob("*") if stat.S_ISSOCK(path.lstat().st_mode)]

    def listening(self) -> list[int]:
        row = [self.ports["LIVEKIT_PORT"] + offset for offset in range(2)]
        return [port for port in [*self.ports.values(), *row] if _answers(port)]


def _answers(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture
def copies(tmp_path: Path) -> Iterator[list[Copy]]:
    made: list[Copy] = []
    yield made
    for copy in made:
        for process in copy.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        with contextlib.suppress(ProcessLookupError):
            copy.process.kill()
        copy.process.wait(10)


def assert_nothing_left(copy: Copy, seen: set[psutil.Process]) -> None:
    assert [process for process in seen | copy.processes() if process.is_running()] == []
    assert copy.sockets() == []
    assert copy.listening() == []


@pytest.mark.timeout(300)
def test_two_copies_run_side_by_side_and_leave_nothing(tmp_path: Path, copies: list[Copy]) -> None:
    copies += [Copy(tmp_path / "one"), Copy(tmp_path / "two")]
    for copy in copies:
        copy.until_ready()
        assert httpx.get(f"{copy.url}/health/ready", trust_env=False).status_code == 200
        assert stat.S_IMODE((copy.folder / ".env").stat().st_mode) == 0o600
        assert "offline demonstration" in copy.output
    seen = [copy.processes() for copy in copies]
    assert all(len(processes) >= 8 for processes in seen)

    copies[0].process.send_signal(signal.SIGINT)
    assert copies[0].process.wait(END_S) == 0
    assert_nothing_left(copies[0], seen[0])
    assert list(copies[0].temporary.iterdir()) == []
    assert "killed" not in copies[0].output

    # The other one did not notice.
    assert httpx.get(f"{copies[1].url}/health/ready", trust_env=False).status_code == 200
    copies[1].process.send_signal(signal.SIGTERM)
    copies[1].process.send_signal(signal.SIGINT)
    assert copies[1].process.wait(END_S) == 0
    assert_nothing_left(copies[1], seen[1])


@pytest.mark.timeout(180)
def test_a_killed_run_takes_all_with_it_and_the_next_one_starts(tmp_path: Path, copies: list[Copy]) -> None:
    copy = Copy(tmp_path / "one")
    copies.append(copy)
    copy.until_ready()
    seen = copy.processes()
    copy.process.kill()
    copy.process.wait(10)

    copy.process = copy.start()  # at once: it waits until the programs of the one before have ended
    copy.until_ready()
    assert [process for process in seen if process.is_running()] == []
    seen = copy.processes()
    copy.process.send_signal(signal.SIGINT)
    assert copy.process.wait(END_S) == 0
    assert_nothing_left(copy, seen)


@pytest.mark.timeout(120)
@pytest.mark.parametrize("wrong", [{"AGENT": "no_such_module:make"}, {"ZYGOTE_MODULE": "no.such.module"}])
def test_a_run_that_cannot_start_its_programs_says_so_and_leaves_nothing(
    tmp_path: Path, copies: list[Copy], wrong: dict[str, str]
) -> None:
    copies.append(Copy(tmp_path / "one", **wrong))
    assert copies[0].process.wait(110) == 1
    last = copies[0].output.splitlines()[-1]
    assert last.startswith("greenroom: AGENT=")
    assert "cannot be loaded" in last
    assert_nothing_left(copies[0], set())
