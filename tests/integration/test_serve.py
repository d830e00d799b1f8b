"""``greenroom serve``: a container's programs on a real Redis and LiveKit, from the start to SIGTERM."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer, RedisServer, free_port, wait_until

GREENROOM = str(Path(sys.executable).with_name("greenroom"))
END_S = 60.0


@pytest.fixture
def environ(redis_server: RedisServer, livekit_server: LiveKitServer, tmp_path: Path) -> dict[str, str]:
    """What a platform gives a container of the image."""
    return {
        "PATH": os.environ["PATH"],
        "REDIS_URL": redis_server.url,
        "LIVEKIT_URL": livekit_server.url,
        "LIVEKIT_API_KEY": LIVEKIT_KEY,
        "LIVEKIT_API_SECRET": LIVEKIT_SECRET,
        "GREENROOM_HOME": str(tmp_path / "home"),
        "HOST_ID": "served",
        "PORT": str(free_port()),
        "DRAIN_ON_TERM": "true",
    }


@contextlib.contextmanager
def serving(environ: dict[str, str], folder: Path, *programs: str) -> Iterator[subprocess.Popen[bytes]]:
    """Start them; what is left of them afterwards is killed, and is an error."""
    with (folder / "serve.log").open("wb") as log:
        process = subprocess.Popen([GREENROOM, "serve", *programs], env=environ, cwd=folder, stdout=log, stderr=log)
    try:
        yield process
    finally:
        left = [*_all_of(process), *_with_home(environ["GREENROOM_HOME"])]
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(10)
        assert left == []


def _all_of(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    if process.poll() is not None:
        return []
    started = psutil.Process(process.pid)
    return [started, *started.children(recursive=True)]


def _with_home(home: str) -> list[psutil.Process]:
    """Agents have a session of their own: they are known by their folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.environ().get("GREENROOM_HOME") == home and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def _is_healthy(environ: dict[str, str], folder: Path) -> bool:
    return (
        subprocess.run([GREENROOM, "healthy"], env=environ, cwd=folder, capture_output=True, check=False).returncode
        == 0
    )


def test_a_worker_and_its_host_are_well_and_end_at_sigterm(environ: dict[str, str], tmp_path: Path) -> None:
    with serving(environ, tmp_path, "worker", "host") as process:
        wait_until(lambda: _is_healthy(environ, tmp_path), timeout_s=60, every_s=0.5, what="both are well")
        names = " ".join(" ".join(child.cmdline()) for child in psutil.Process(process.pid).children())
        assert "orchestrator.host" in names
        assert "uvicorn" not in names
        process.terminate()
        assert process.wait(END_S) == 0
    assert "host drains before it stops" in (tmp_path / "serve.log").read_text()


def test_one_program_takes_the_place_of_the_process(environ: dict[str, str], tmp_path: Path) -> None:
    with serving(environ, tmp_path, "api") as process:
        url = f"http://127.0.0.1:{environ['PORT']}/health/live"

        def answers() -> bool:
            with contextlib.suppress(httpx.HTTPError):
                return httpx.get(url, trust_env=False).is_success
            return False

        wait_until(answers, timeout_s=60, what="the API answers")
        assert "orchestrator.api" in " ".join(psutil.Process(process.pid).cmdline())
        assert _is_healthy(environ, tmp_path)
        process.terminate()
        process.wait(END_S)
    assert not _is_healthy(environ, tmp_path)


def test_a_program_that_cannot_start_ends_the_container(
    environ: dict[str, str], tmp_path: Path, redis_server: RedisServer
) -> None:
    with serving(environ | {"PORT": str(redis_server.port)}, tmp_path, "api", "beat") as process:
        process.wait(END_S)
    assert "was given up" in (tmp_path / "serve.log").read_text()


def test_a_wrong_setting_is_named_at_once(environ: dict[str, str], tmp_path: Path) -> None:
    with serving(environ | {"MAX_BOTS": "many"}, tmp_path, "all") as process:
        assert process.wait(END_S) == 1
    assert "MAX_BOTS" in (tmp_path / "serve.log").read_text()
