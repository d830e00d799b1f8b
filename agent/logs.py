"""An agent's log: one JSON object on each line of its own file, also for what is merely printed.

Its fields are those of the other programs' lines (``orchestrator.logs``): timestamp, level, logger, event, program,
host, session_id, trace_id. No secret that the agent's environment names as one, and no token, is in a line made
here. What a program that the agent starts writes to the same file is masked by the host, when it reads that.

The file, not a pipe, is what standard output and error are: an agent outlives its host daemon, and a pipe would not.
"""

from __future__ import annotations

import io
import json
import logging
import os
import socket
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TextIO

from contract.masking import Mask, secrets_in

MAX_LINE_CHARS = 8_000
LONGEST_SECRET_CHARS = 8_000
KEPT_CHARS = MAX_LINE_CHARS + LONGEST_SECRET_CHARS
"""Of a line that is longer the rest is not looked at."""
_STANDARD = frozenset(logging.LogRecord("", 0, "", 0, "", (), None).__dict__) | {"message", "asctime", "taskName"}


class Lines:
    """Makes lines of one agent. ``trace_id`` is known from the claim on."""

    def __init__(self, session_id: str, environment: Mapping[str, str]) -> None:
        host = environment.get("HOST_ID") or socket.gethostname()
        self._same: dict[str, object] = {"program": "agent", "host": host, "session_id": session_id}
        self.mask = Mask(secrets_in(environment))

    def know(self, trace_id: str | None) -> None:
        """This agent is part of a trace."""
        if trace_id is not None:
            self._same["trace_id"] = trace_id

    def line(self, at: float, level: str, logger: str, event: str, fields: Mapping[str, object]) -> str:
        """One line, without its end. ``at`` is in Unix seconds."""
        when = datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        content = {"timestamp": when, "level": level, "logger": logger, "event": self._told(event)} | self._same
        # A library's own field of such a name is kept beside ours.
        more = {f"{name}_" if name in content else name: value for name, value in fields.items()}
        return self.mask(json.dumps(content | more, default=str, ensure_ascii=False))

    def _told(self, event: str) -> str:
        """Masked, and only then cut: a part of a secret is not known as one, and one may be where looking ended."""
        told = self.mask(event[:KEPT_CHARS])
        return (told if len(event) < KEPT_CHARS else told[:-LONGEST_SECRET_CHARS])[:MAX_LINE_CHARS]


class JsonFormatter(logging.Formatter):
    """A record as one line, with its extra fields."""

    def __init__(self, lines: Lines) -> None:
        super().__init__()
        self._lines = lines

    def format(self, record: logging.LogRecord) -> str:
        """Encode one record."""
        fields = {key: value for key, value in record.__dict__.items() if key not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self._lines.mask(self.formatException(record.exc_info))[-MAX_LINE_CHARS:]
        return self._lines.line(record.created, record.levelname.lower(), record.name, record.getMessage(), fields)


class PrintedLines(io.TextIOBase):
    """What ``print`` and tracebacks write, as lines that name their stream."""

    def __init__(self, name: str, out: TextIO, lines: Lines) -> None:
        self._name = name
        self._out = out
        self._lines = lines
        self._rest = ""

    def write(self, text: str) -> int:
        """Write every complete line; of one that has no end yet, keep as much as is looked at."""
        *lines, rest = (self._rest + text).split("\n")
        self._rest = rest[:KEPT_CHARS]
        for line in lines:
            entry = self._lines.line(time.time(), "info", self._name, line, {"stream": self._name})
            self._out.write(entry + "\n")
        self._out.flush()
        return len(text)


def redirect(path: str, session_id: str) -> Lines:
    """Make the file this process's standard output and error, and the log's place."""
    with open(os.devnull, "rb") as nothing:  # noqa: PTH123
        os.dup2(nothing.fileno(), 0)
    # Append mode: the host cuts the file when it has grown too long, and writing goes on at its new end.
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    out = os.fdopen(fd, "w", encoding="utf-8", errors="replace", buffering=1)
    handler = logging.StreamHandler(out)
    lines = Lines(session_id, os.environ)
    handler.setFormatter(JsonFormatter(lines))
    logging.basicConfig(handlers=[handler], level=os.environ.get("LOG_LEVEL", "info").upper(), force=True)
    logging.getLogger("livekit").setLevel(logging.WARNING)
    sys.stdout = PrintedLines("stdout", out, lines)
    sys.stderr = PrintedLines("stderr", out, lines)
    return lines
