"""Building livekit-server, with a stand-in for Go."""

from __future__ import annotations

from pathlib import Path
from threading import Thread

import pytest

from orchestrator.cli.console import CommandError
from orchestrator.cli.livekit_build import build

WORKS = """echo "CGO_ENABLED=$CGO_ENABLED $*" >> "$LOG"
echo binary > "$GOBIN/server"
"""


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    monkeypatch.setenv("LOG", str(tmp_path / "log"))
    return tmp_path / "log"


def fake_go(tmp_path: Path, body: str) -> None:
    path = tmp_path / "bin" / "go"
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}")
    path.chmod(0o755)


def test_it_is_built_once_and_moved_into_place(tmp_path: Path, log: Path) -> None:
    fake_go(tmp_path, WORKS)
    binary = tmp_path / "cache" / "livekit-server"
    build(binary, "1.2.3")
    build(binary, "1.2.3")
    assert binary.read_text() == "binary\n"
    assert log.read_text() == "CGO_ENABLED=0 install github.com/livekit/livekit-server/cmd/server@v1.2.3\n"
    assert {path.name for path in binary.parent.iterdir()} == {"livekit-server", "lock"}


def test_two_builds_at_once_make_one(tmp_path: Path, log: Path) -> None:
    fake_go(tmp_path, WORKS + "sleep 0.3\n")
    binary = tmp_path / "cache" / "livekit-server"
    threads = [Thread(target=build, args=(binary, "1.2.3")) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert binary.exists()
    assert len(log.read_text().splitlines()) == 1


def test_a_failed_build_says_why_and_leaves_nothing(tmp_path: Path, log: Path) -> None:
    fake_go(tmp_path, "echo 'dial tcp: no route to host' >&2\nexit 1\n")
    binary = tmp_path / "cache" / "livekit-server"
    with pytest.raises(CommandError, match=r"no route to host\): install Go 1\.25"):
        build(binary, "1.2.3")
    assert [path.name for path in binary.parent.iterdir()] == ["lock"]
