"""An agent's log: one JSON object on each line of its own file, also for what is merely printed.

The file, not a pipe, is what standard output and error are: an agent outlives its host daemon, and a pipe would not.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
import time
from typing import TextIO

MAX_LINE_CHARS = 8_000
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class JsonFormatter(logging.Formatter):
    """A record as one JSON object: at (Unix seconds), level, logger, message and the record's extra fields."""

    def format(self, record: logging.LogRecord) -> str:
        """Encode one record."""
        line: dict[str, object] = {
            "at": round(record.created, 3),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage()[:MAX_LINE_CHARS],
        }
        line |= {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)[-MAX_LINE_CHARS:]
        return json.dumps(line, default=str, ensure_ascii=False)


class PrintedLines(io.TextIOBase):
    """What ``print`` and tracebacks write, as JSON lines that name their stream."""

    def __init__(self, name: str, out: TextIO) -> None:
        self._name = name
        self._out = out
        self._rest = ""

    def write(self, text: str) -> int:
        """Write every complete line; keep the rest, up to a bound."""
        *lines, self._rest = (self._rest + text).split("\n")
        if len(self._rest) > MAX_LINE_CHARS:
            lines, self._rest = [*lines, self._rest], ""
        for line in lines:
            entry = {"at": round(time.time(), 3), "stream": self._name, "message": line[:MAX_LINE_CHARS]}
            self._out.write(json.dumps(entry, ensure_ascii=False) + "\n")
        self._out.flush()
        return len(text)


def redirect(path: str) -> None:
    """Make the file this process's standard output and error, and the log's place."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    # Append mode: the host cuts the file when it has grown too long, and writing goes on at its new end.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    out = os.fdopen(fd, "w", encoding="utf-8", errors="replace", buffering=1)
    handler = logging.StreamHandler(out)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(handlers=[handler], level=os.environ.get("LOG_LEVEL", "info").upper(), force=True)
    logging.getLogger("livekit").setLevel(logging.WARNING)
    sys.stdout = PrintedLines("stdout", out)
    sys.stderr = PrintedLines("stderr", out)
