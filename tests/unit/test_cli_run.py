from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from threading import Thread

import httpx
import pytest
from typer.testing import CliRunner

from contract.messages import Retire, Retired, parse_line
from orchestrator.cli import fatal_listener
from orchestrator.cli.home import Home
from orchestrator.cli.main import COMMANDS, app
from orchestrator.cli.programs_log import ProgramsLog, interesting
from orchestrator.cli.readiness import why_not_ready
from orchestrator.cli.retire import retire_host

# --- the command ---------------------------------------------------------------------------------------


def test_help_lists_every_command_and_imports_none() -> None:
    code = "import sys; from orchestrator.cli.main import app; app(['--help'], standalone_mode=False)"
    code += "; print([m for m in sys.modules if m.startswith('orchestrator.cli.')])"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    *help_lines, modules = answer.stdout.splitlines()
    assert all(name in "\n".join(help_lines) for name in COMMANDS)
    assert modules == "['orchestrator.cli.console', 'orchestrator.cli.main']"


def test_the_whole_reason_why_it_is_not_ready_is_asked_for_with_the_admin_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[dict[str, str]] = []

    def get(_url: str, *, headers: dict[str, str], **_: object) -> httpx.Response:
        asked.append(headers)
        return httpx.Response(503, json={"reason": "hosts: no host is alive"})

    monkeypatch.setattr(httpx, "get", get)
    assert why_not_ready("http://api", "token") == "hosts: no host is alive"
    assert why_not_ready("http://api") == "hosts: no host is alive"
    assert asked == [{"Authorization": "Bearer token"}, {}]


@pytest.mark.parametrize("name", list(COMMANDS))
def test_every_command_can_be_loaded(name: str) -> None:
    result = CliRunner().invoke(app, [name, "--help"])
    assert result.exit_code == 0
    assert re.match(rf"Usage: \w+ {name} ", result.output)


def test_an_error_is_one_line_and_an_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PORT", "x")
    answer = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli.main", "run"],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert answer.returncode == 1
    assert answer.stderr.startswith("greenroom: PORT: ")
    assert answer.stderr.count("\n") == 1


AT = "2026-01-01 10:00:00,123"

# --- what is shown -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ('{"level":"warning","event":"redis is away","timestamp":"t","host":"h"}', "warning: redis is away host=h"),
        ('{"level":"info","event":"session ready"}', None),
        ('{"level":"error","msg":"of livekit"}', None),
        ("{not json", None),
        (f"{AT} WARN exited: api (exit status 1; not expected)", "exited: api (exit status 1; not expected)"),
        (f"{AT} WARN killing 'host' (9) with SIGKILL", "killing 'host' (9) with SIGKILL"),
        (f"{AT} WARN stopped: api (terminated by SIGTERM)", None),
        ("2026-01-01T10:00:00Z [warning  ] redis is away", "2026-01-01T10:00:00Z [warning  ] redis is away"),
        ("Traceback (most recent call last):", None),
    ],
)  # fmt: skip
def test_serious_lines_are_shown(line: str, shown: str | None) -> None:
    assert interesting(line) == shown


def test_every_line_is_kept_and_verbose_shows_them(tmp_path: Path) -> None:
    shown: list[str] = []
    log = ProgramsLog(tmp_path / "log", shown.append, verbose=True)
    log.follow(io.BytesIO(b"one\n\ntwo \xff\nthree"))
    log.close()
    assert (tmp_path / "log").read_text().splitlines() == ["one", "two \ufffd", "three"]
    assert shown == log.tail == ["one", "two \ufffd", "three"]


def test_the_reason_for_an_end_is_kept(tmp_path: Path) -> None:
    log = ProgramsLog(tmp_path / "log", lambda _: None)
    log.follow(io.BytesIO(b'{"level":"critical","event":"given up","program":"api"}\n{"level":"error","event":"x"}\n'))
    log.close()
    assert log.critical == "given up program=api"


def test_the_log_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.cli.programs_log.FILE_BYTES", 1000)
    log = ProgramsLog(tmp_path / "log", lambda _: None)
    log.follow(io.BytesIO(b"a line of thirty characters...\n" * 1000))
    log.close()
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 4 * 1000


# --- retiring the host ---------------------------------------------------------------------------------


def test_the_host_is_asked_and_says_how_many_agents_it_has(tmp_path: Path) -> None:
    path = tmp_path / "host.sock"
    got: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()

        def answer() -> None:
            connection, _ = server.accept()
            with connection, connection.makefile("rb") as lines:
                got.append(lines.readline())
                connection.sendall(Retired(agents=3).to_line())

        thread = Thread(target=answer)
        thread.start()
        assert retire_host(path) == 3
        thread.join()
    assert parse_line(got[0]) == Retire()


def test_without_a_host_there_is_nothing_to_retire(tmp_path: Path) -> None:
    assert retire_host(tmp_path / "host.sock") is None


# --- the listener --------------------------------------------------------------------------------------


def event(name: str, payload: str) -> str:
    return f"ver:3.0 server:s serial:1 pool:p poolserial:1 eventname:{name} len:{len(payload)}\n{payload}"


FATAL = event("PROCESS_STATE_FATAL", "processname:api groupname:api from_state:BACKOFF")
STOPPING = event("SUPERVISOR_STATE_CHANGE_STOPPING", "")


@pytest.mark.parametrize(
    ("events", "killed", "retired", "drains"),
    [
        (FATAL, [(os.getppid(), signal.SIGTERM)], 0, "false"),
        (STOPPING, [], 1, "false"),
        (STOPPING + FATAL, [], 1, "false"),
        (STOPPING, [], 0, "true"),
    ],
)
def test_the_listener_acts(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    events: str,
    killed: list[tuple[int, int]],
    retired: int,
    drains: str,
) -> None:
    kills: list[tuple[int, int]] = []
    hosts: list[Path] = []
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "s" * 32)
    monkeypatch.setenv("DRAIN_ON_TERM", drains)
    monkeypatch.setattr(sys, "stdin", io.StringIO(events))
    monkeypatch.setattr(os, "kill", lambda pid, number: kills.append((pid, number)))
    monkeypatch.setattr(fatal_listener, "retire_host", hosts.append)
    fatal_listener.main()
    said = capsys.readouterr()
    assert kills == killed
    assert len(hosts) == retired
    assert said.out.endswith("RESULT 2\nOKREADY\n")
    if killed:
        assert json.loads(said.err)["program"] == "api"
        assert interesting(said.err)


# --- the data folder -----------------------------------------------------------------------------------


def test_sockets_are_removed_and_nothing_else(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.prepare()
    (tmp_path / "host").mkdir()
    (tmp_path / "host" / "kept").write_text("x")
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(tmp_path / "host" / "host.sock"))
    home.remove_sockets()
    assert [path.name for path in (tmp_path / "host").iterdir()] == ["kept"]
