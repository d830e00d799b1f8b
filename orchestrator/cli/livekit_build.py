"""Builds livekit-server with Go into the cache: once, and safely when two runs do it at the same time."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from typing import BinaryIO

from orchestrator.cli import console
from orchestrator.cli.console import CommandError, Waiting

SOURCE = "github.com/livekit/livekit-server/cmd/server"
REMEDY = "install Go 1.25 or newer (https://go.dev/dl), put livekit-server on the PATH, or set LIVEKIT_URL"


def build(binary: Path, version: str) -> None:
    """Build that version and put it at ``binary``.

    Raises:
        CommandError: there is no Go, or the build failed.
    """
    go = shutil.which("go")
    if go is None:
        raise CommandError(f"livekit-server is not there, and neither is Go to build it: {REMEDY}")
    binary.parent.mkdir(parents=True, exist_ok=True)
    what = f"building livekit-server {version} with Go, once"
    with Waiting(what).shown() as waiting, _lock(binary.parent / "lock", waiting):
        if not binary.exists():  # else the one that we waited for has built it
            _install(go, f"{SOURCE}@v{version}", binary, waiting)
    console.step(f"built livekit-server {version}")


@contextmanager
def _lock(path: Path, waiting: Waiting) -> Iterator[None]:
    with path.open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                waiting.update("another run builds it")
                sleep(0.2)
        yield


def _install(go: str, package: str, binary: Path, waiting: Waiting) -> None:
    # Beside its final place: a rename is whole or not at all, so a build that was cut off leaves nothing.
    with tempfile.TemporaryDirectory(prefix="build-", dir=binary.parent) as folder:
        log = Path(folder, "log")
        environ = os.environ | {"CGO_ENABLED": "0", "GOBIN": folder}
        with log.open("wb") as output, _group([go, "install", package], environ, output) as process:
            while process.poll() is None:
                waiting.update(_last_line(log))
                sleep(0.2)
        if process.returncode != 0:
            reason = _last_line(log) or f"go ended with {process.returncode}"
            raise CommandError(f"livekit-server could not be built ({reason}): {REMEDY}")
        Path(folder, "server").rename(binary)


@contextmanager
def _group(argv: list[str], environ: dict[str, str], output: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that starts others, and end them all with it."""
    process = subprocess.Popen(
        argv, env=environ, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, process_group=0
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _last_line(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
