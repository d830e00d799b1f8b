"""``greenroom serve PROGRAM…``: the programs of one container, with Redis and LiveKit elsewhere.

Their commands are those of ``supervisord.conf``. One program takes this process's place: whoever started the container
is its supervisor. Several run under supervisord, and so does a host by itself: it has agents to end before the
container does, as nothing outlives that.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from collections.abc import Collection, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli import environment, provision
from orchestrator.cli.console import CommandError
from orchestrator.cli.home import Home

SERVING = "serving.json"
"""In GREENROOM_HOME: what runs here, for ``greenroom healthy``."""

_SECTION = re.compile(r"^(?=\[)", re.MULTILINE)
_NAME = re.compile(r"\[program:(\w+)\]")


class Program(StrEnum):
    """What a container may run."""

    API = "api"
    WORKER = "worker"
    BEAT = "beat"
    HOST = "host"
    ALL = "all"


def serve(
    programs: Annotated[list[Program], typer.Argument(help="One of them, or several, such as worker host.")],
) -> None:
    """Run these programs in the foreground, with the environment's Redis and LiveKit, until SIGTERM."""
    settings = environment.read_settings()
    home = Home(settings.greenroom_home.absolute())
    home.prepare()
    environ = provision.program_environment(home, settings, os.environ)
    config = provision.config_source().read_text()
    chosen = choose(programs)
    supervised = is_supervised(chosen)
    (home.path / SERVING).write_text(json.dumps({"programs": chosen, "supervised": supervised}))
    if supervised:
        path = home.path / provision.CONFIG
        path.write_text(sections(config, chosen))
        argv = ["supervisord", "-n", "-c", str(path)]
    else:
        argv = command(config, chosen[0], environ)
    os.execvpe(argv[0], argv, environ)  # noqa: S606 - what supervisord.conf names


def choose(programs: Collection[Program]) -> list[str]:
    """The programs' names, each once."""
    every = [program.value for program in Program if program is not Program.ALL]
    return every if Program.ALL in programs else [name for name in every if name in programs]


def is_supervised(chosen: Collection[str]) -> bool:
    """Whether these need supervisord."""
    return len(chosen) > 1 or Program.HOST.value in chosen


def sections(config: str, chosen: Collection[str]) -> str:
    """``supervisord.conf`` without the programs that are not chosen."""
    return "".join(part for part in _SECTION.split(config) if _program(part) in {None, *chosen})


def command(config: str, program: str, environ: Mapping[str, str]) -> list[str]:
    """What ``supervisord.conf`` says to start this program with.

    Raises:
        CommandError: it says nothing.
    """
    for part in _SECTION.split(config):
        line = re.search(r"^command=(.*)$", part, re.MULTILINE)
        if _program(part) == program and line:
            return shlex.split(line[1] % {f"ENV_{name}": value for name, value in environ.items()})
    raise CommandError(f"{provision.CONFIG} has no command for {program}: install Greenroom again")


def _program(section: str) -> str | None:
    name = _NAME.match(section)
    return name[1] if name else None


def served(home: Path) -> tuple[list[str], bool] | None:
    """What ``serve`` began with this folder, and whether under supervisord; None when it began nothing."""
    try:
        said = json.loads((home / SERVING).read_text())
    except (FileNotFoundError, ValueError):
        return None
    return said["programs"], said["supervised"]
