"""What the programs' own lines say of errors: where it was, and never what any variable held."""

from __future__ import annotations

import io
import json
import logging
import re
import subprocess
import sys
from datetime import datetime, timedelta

import pytest

from agent.logs import KEPT_CHARS, JsonFormatter, Lines, PrintedLines
from orchestrator.logs import NamedLogger

PROGRAM = """
import logging, sys
from pathlib import Path
sys.path.insert(0, ".")
from orchestrator.logs import set_up_logging
from tests.support.api import settings
import structlog

set_up_logging(settings(log_format=sys.argv[1], log_level="debug"), "api")

def open_the_door(token):
    held = token[::-1]
    raise ValueError("it is locked")

for log in (logging.getLogger("asyncio"), structlog.get_logger("greenroom.api")):
    try:
        open_the_door("tekcit-" * 3)
    except ValueError:
        log.exception("it went wrong")
"""


@pytest.mark.parametrize("form", ["json", "console"])
def test_an_errors_traceback_is_told_without_what_variables_held(form: str) -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM, form], capture_output=True, text=True, check=True, timeout=60)
    told = done.stdout + done.stderr
    assert told.count("in open_the_door") == 2
    assert told.count("ValueError: it is locked") == 2
    assert "-ticket" not in told
    assert "tekcit-tekcit" not in told


LINES = """
import logging, os, sys
sys.path.insert(0, ".")
os.environ |= {"GROQ_API_KEY": "groq-key-gggggggg"}
from orchestrator.logs import set_up_logging
from tests.support.api import ADMIN_TOKEN, settings
import structlog

given = settings(log_level="info", host_id="host-1", redis_url="redis://:redis-password-r@127.0.0.1:6379/0")
set_up_logging(given, "worker")
with structlog.contextvars.bound_contextvars(session_id="session_1"):
    structlog.get_logger("greenroom.spawn").info("of ours", said=[ADMIN_TOKEN, "groq-key-gggggggg"])
    logging.getLogger("library").warning("of a %s, redis-password-r", "library's")
structlog.get_logger("greenroom.replace").error("host is lost", host="host-2")
"""


def test_every_line_has_the_same_fields_and_no_secret() -> None:
    done = subprocess.run([sys.executable, "-c", LINES], capture_output=True, text=True, check=True, timeout=60)
    ours, of_host, library = [json.loads(line) for line in (done.stdout + done.stderr).splitlines()]
    for line in (ours, of_host, library):
        assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() == timedelta(0)
    same = {"program": "worker", "host": "host-1", "session_id": "session_1"}
    assert ours == same | {
        "level": "info", "logger": "greenroom.spawn", "event": "of ours", "said": ["[masked]", "[masked]"],
    }  # fmt: skip
    assert library == same | {"level": "warning", "logger": "library", "event": "of a library's, [masked]"}
    assert of_host == {
        "level": "error", "logger": "greenroom.replace", "event": "host is lost", "program": "worker", "host": "host-2",
    }  # fmt: skip


def test_a_line_is_written_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Programs share one stream: between two writes another one's line may come in."""
    written: list[str] = []

    class Stream(io.StringIO):
        def write(self, text: str) -> int:
            written.append(text)
            return len(text)

    monkeypatch.setattr(sys, "stdout", Stream())
    NamedLogger().info('{"event": "x"}')
    assert written == ['{"event": "x"}\n']


def test_an_agents_lines_have_them_too() -> None:
    lines = Lines("session_1", {"HOST_ID": "host-1", "GROQ_API_KEY": "groq-key-gggggggg"})
    logger = logging.getLogger("library")
    record = logger.makeRecord(
        "library", logging.WARNING, "f", 1, "sent %s", ("groq-key-gggggggg",), None, extra={"event": "theirs", "n": 1}
    )
    before = json.loads(JsonFormatter(lines).format(record))
    assert datetime.fromisoformat(before.pop("timestamp")).timestamp() == pytest.approx(record.created, abs=0.01)
    assert before == {
        "level": "warning", "logger": "library", "event": "sent [masked]", "program": "agent", "host": "host-1",
        "session_id": "session_1", "event_": "theirs", "n": 1,
    }  # fmt: skip
    lines.know("a" * 32)
    out = io.StringIO()
    print("hello", file=PrintedLines("stdout", out, lines))
    printed = json.loads(out.getvalue())
    assert printed["trace_id"] == "a" * 32
    assert {name: printed[name] for name in ("event", "stream", "level", "program")} == {
        "event": "hello", "stream": "stdout", "level": "info", "program": "agent",
    }  # fmt: skip


KEY = "groq-key-gggggggg"


def printed(*pieces: str) -> str:
    """What is told of what was printed so, piece by piece."""
    out = io.StringIO()
    stream = PrintedLines("stdout", out, Lines("session_1", {"GROQ_API_KEY": KEY}))
    for piece in pieces:
        stream.write(piece)
    return "".join(json.loads(line)["event"] + "\n" for line in out.getvalue().splitlines())


@pytest.mark.parametrize("before", [7985, 7999, 8001, 15_985, 15_999])
@pytest.mark.parametrize("cut", [0, 9])
def test_no_part_of_a_key_is_told_where_a_line_is_cut(before: int, cut: int) -> None:
    line = "x" * before + KEY + "y" * 9_000
    told = printed(line[: before + cut], line[before + cut :], "\nnext\n")
    first, second = told.splitlines()
    assert re.fullmatch(r"x+(\[masked\]|\[mas?k?e?d?)?y*", first)
    assert second == "next"
    assert 7_900 < len(first) <= 8_000


@pytest.mark.parametrize("cut", range(1, len(KEY), 5))
def test_no_part_of_a_key_is_told_where_keys_fill_a_line(cut: int) -> None:
    """Masked, they are shorter than what was looked at: its end must not be told."""
    told = printed(f"{KEY} " * 2_000 + KEY[:cut], KEY[cut:] + "\n")
    assert "gro" not in told
    assert "ggg" not in told


def test_of_an_exception_too() -> None:
    error = ValueError(KEY + "x" * 7_990)
    record = logging.getLogger("l").makeRecord("l", logging.ERROR, "f", 1, "e", (), (ValueError, error, None))
    line = json.loads(JsonFormatter(Lines("session_1", {"GROQ_API_KEY": KEY})).format(record))
    assert "g" * 8 not in line["exception"]


def test_a_line_without_an_end_is_kept_up_to_a_bound() -> None:
    stream = PrintedLines("stdout", io.StringIO(), Lines("session_1", {}))
    for _ in range(100):
        stream.write("x" * 10_000)
    assert len(stream._rest) == KEPT_CHARS
