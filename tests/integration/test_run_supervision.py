"""A run's processes under a real supervisord: what is given up ends all, and nothing outlives the run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.servers import wait_until

TOP = Path(__file__).parents[2]

# Stands for `greenroom run`: the same start and the same end, with the programs of the test.
RUN = """
import os, sys
from pathlib import Path
from orchestrator.cli.processes import end_descendants, start_supervisord
from contract.prctl import become_subreaper
folder = Path(sys.argv[1])
become_subreaper()
supervisord = start_supervisord(folder / "supervisord.conf", os.environ, folder / "errors")
(folder / "started").write_text(str(supervisord.pid))
for line in supervisord.stdout:
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
supervisord.wait()
print("killed:", *end_descendants(1), flush=True)
"""

BASE = """
[supervisord]
nodaemon=true
logfile=/dev/null
logfile_maxbytes=0
pidfile=%(ENV_FOLDER)s/supervisord.pid

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[eventlistener:watch]
command=python -m orchestrator.cli.fatal_listener
events=PROCESS_STATE_FATAL,SUPERVISOR_STATE_CHANGE_STOPPING
stderr_logfile=/dev/stdout
stderr_logfile_maxbytes=0
"""

PROGRAM = """
[program:{name}]
command={command}
startretries=0
stdout_logfile=/dev/stdout
stdout_logfile_maxbytes=0
"""


class Run:
    def __init__(self, folder: Path, **programs: str) -> None:
        self.folder = folder
        sections = [PROGRAM.format(name=name, command=command) for name, command in programs.items()]
        (folder / "supervisord.conf").write_text(BASE + "".join(sections))
        environ = os.environ | {"FOLDER": str(folder), "PYTHONPATH": str(TOP), "PYTHONUNBUFFERED": "1"}
        environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        environ |= {"LIVEKIT_API_KEY": "k", "LIVEKIT_API_SECRET": "s" * 32, "GREENROOM_HOME": str(folder)}
        with (folder / "out").open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-c", RUN, str(folder)], stdout=out, stderr=out, cwd=folder, env=environ
            )
        wait_until(lambda: (folder / "started").exists() and self.supervisord, what="supervisord started")

    @property
    def output(self) -> str:
        return (self.folder / "out").read_text()

    @property
    def supervisord(self) -> int:
        return int((self.folder / "started").read_text() or 0)

    def left(self) -> list[psutil.Process]:
        """Whatever still runs with this test's folder in its environment."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("FOLDER") == str(self.folder) and process.status() != "zombie":
                    found.append(process)
            except psutil.Error:
                continue
        return found


@pytest.fixture
def runs(tmp_path: Path) -> Iterator[list[Run]]:
    started: list[Run] = []
    yield started
    for run in started:
        for process in run.left():
            process.kill()
        run.process.wait(10)


def test_a_program_that_is_given_up_ends_all_and_is_named(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path, good="sleep 1000", broken="false"))
    runs[0].process.wait(30)
    assert '"program": "broken"' in runs[0].output
    assert runs[0].left() == []


ESCAPES = """sh -c "setsid sh -c 'trap : TERM; touch escaped; while :; do sleep 0.1; done' & exec sleep 1000" """


def test_what_escaped_its_program_is_ended_as_well(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path, host=ESCAPES))
    wait_until((tmp_path / "escaped").exists, what="the stray runs")
    os.kill(runs[0].supervisord, signal.SIGTERM)
    runs[0].process.wait(30)
    assert "killed: sh" in runs[0].output
    assert runs[0].left() == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_end_of_the_run_ends_supervisord_and_its_programs(
    tmp_path: Path, runs: list[Run], number: signal.Signals
) -> None:
    runs.append(Run(tmp_path, one="sleep 1000", two="sleep 1000"))
    wait_until(lambda: len(runs[0].left()) == 5, what="all programs run")
    runs[0].process.send_signal(number)
    runs[0].process.wait(10)
    wait_until(lambda: not runs[0].left(), what="everything has ended")


def test_the_end_of_supervisord_ends_its_programs(tmp_path: Path, runs: list[Run]) -> None:
    runs.append(Run(tmp_path, one="sleep 1000", two="sleep 1000"))
    wait_until(lambda: len(runs[0].left()) == 5, what="all programs run")
    os.kill(runs[0].supervisord, signal.SIGKILL)
    runs[0].process.wait(10)
    assert runs[0].left() == []
