"""What an agent leaves behind when a signal ends it, as a process of its own."""

from __future__ import annotations

import json
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.messages import SIGNALLED, AgentLimits, Fork, Hello, Leaving, parse_line
from tests.support.records import warm_id

PROGRAM = """
import sys
from agent.process import run_agent
from contract.messages import parse_line
sys.exit(run_agent(parse_line(sys.argv[1].encode()), lambda assignment: None))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="greenroom-"))  # a socket's path may have 107 characters
    yield path
    shutil.rmtree(path)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_no_reason_to_end_well(folder: Path, number: signal.Signals) -> None:
    """Whether its host sent it, only that knows."""
    fork = Fork(
        session_id=warm_id(1), requested_at=1.0, livekit_url="ws://127.0.0.1:1", host_socket=str(folder / "s"),
        log_path=str(folder / "log"), last_word_path=str(folder / "word"), limits=AgentLimits(),
    )  # fmt: skip
    with socket.socket(socket.AF_UNIX) as host:
        host.bind(fork.host_socket)
        host.listen()
        host.settimeout(60)
        with subprocess.Popen([sys.executable, "-c", PROGRAM, fork.to_line()]) as agent:
            line, _ = host.accept()
            with line, line.makefile("rb") as heard:
                line.settimeout(60)
                assert isinstance(parse_line(heard.readline()), Hello)
                agent.send_signal(number)
                assert parse_line(heard.readline()) == Leaving(reason=SIGNALLED, ok=False)
            assert agent.wait(60) == 1
    assert json.loads((folder / "word").read_text()) == {"reason": SIGNALLED, "ok": False}
