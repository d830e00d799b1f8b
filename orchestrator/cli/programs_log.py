"""What the programs write: kept in a bounded file, and what matters shown on the terminal."""

from __future__ import annotations

import json
import logging
import re
from collections import deque
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path
from threading import Thread
from typing import IO

FILE_BYTES = 5_000_000
FILES_KEPT = 3
LINE_BYTES = 64 * 1024
TAIL_LINES = 30

_SERIOUS = frozenset({"warning", "error", "critical"})
_SUPERVISOR = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} (?:WARN|INFO) (exited: .*not expected.*|killing .*)")
_CONSOLE = re.compile(r"\[\s*(warning|error|critical)\s*\]")
_CRITICAL = "critical: "
_NOISE = frozenset({"level", "event", "timestamp", "logger"})


class ProgramsLog:
    """Reads supervisord's output in a thread: a pipe that nobody reads would stop every program."""

    def __init__(self, path: Path, show: Callable[[str], None], *, verbose: bool = False) -> None:
        self._show = show
        self._verbose = verbose
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._file = RotatingFileHandler(path, maxBytes=FILE_BYTES, backupCount=FILES_KEPT, encoding="utf-8")
        self._thread: Thread | None = None
        self.critical: str | None = None
        """The newest line of that level: why everything ends."""

    def follow(self, stream: IO[bytes]) -> None:
        """Read until the stream ends."""
        self._thread = Thread(target=self._read, args=(stream,), name="programs-log", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Wait for the stream's end and close the file."""
        if self._thread:
            self._thread.join(timeout=2)
        self._file.close()

    def mute(self) -> None:
        """Show nothing more: from now on it is we who end the programs."""
        self._show = lambda _: None

    @property
    def tail(self) -> list[str]:
        """The newest lines, oldest first."""
        return list(self._tail)

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            while raw := stream.readline(LINE_BYTES):
                line = raw.decode(errors="replace").rstrip()
                if line:
                    self._take(line)

    def _take(self, line: str) -> None:
        self._tail.append(line)
        self._file.emit(logging.makeLogRecord({"msg": line}))
        serious = interesting(line)
        if serious and serious.startswith(_CRITICAL):
            self.critical = serious.removeprefix(_CRITICAL)
        shown = line if self._verbose else serious
        if shown:
            self._show(shown)


def interesting(line: str) -> str | None:
    """Return how to show a line that an operator should see at once; None for any other."""
    if line.startswith("{"):
        return _from_json(line)
    if found := _SUPERVISOR.match(line):
        return found[1]
    return line if _CONSOLE.search(line) else None


def _from_json(line: str) -> str | None:
    """Pick Greenroom's own serious lines; LiveKit's have no ``event`` and stay in the file."""
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    if str(entry.get("level")).lower() not in _SERIOUS or "event" not in entry:
        return None
    fields = " ".join(f"{name}={value}" for name, value in entry.items() if name not in _NOISE)
    return f"{entry['level']}: {entry['event']} {fields}".rstrip()
