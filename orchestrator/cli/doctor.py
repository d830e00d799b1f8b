"""``greenroom doctor``: what a run needs, checked one by one, each with what to mend."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from orchestrator.cli import console, deploy_checks, deploy_platforms, environment, provision
from orchestrator.cli.checks import Finding, check_keys, check_livekit, check_memory, check_ports, check_redis
from orchestrator.cli.deploy_platforms import Platform
from orchestrator.cli.environment import LocalServers
from orchestrator.cli.serve import Program

if TYPE_CHECKING:
    from orchestrator.settings import Settings

_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}
_STAND_INS = {"LIVEKIT_API_KEY": "x", "LIVEKIT_API_SECRET": "x" * 32}
"""For the settings that have no default, so that all others can be judged without them."""


def doctor(
    deploy: Annotated[
        Platform | None, typer.Option(help="Check the settings for this platform instead, and say what is missing.")
    ] = None,
    program: Annotated[
        Program,
        typer.Option(help="With --deploy: check the variables that this program's container has, and no .env."),
    ] = Program.ALL,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check Redis, LiveKit (by joining a room), keys, memory and ports; exit with 1 if something must be mended."""
    dotenv = Path.cwd() / ".env"
    if program is Program.ALL:
        environment.merge_dotenv(dotenv, os.environ)
    elif deploy is None:
        raise typer.BadParameter("wants --deploy", param_hint="--program")
    findings = for_platform(deploy, program) if deploy else for_this_machine(dotenv)
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        console.out.print(_table(findings))
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def for_this_machine(dotenv: Path) -> list[Finding]:
    """Check what a run here needs.

    Raises:
        CommandError: a setting is missing or wrong.
    """
    environment.require_livekit_keys(dotenv, os.environ)
    servers = environment.point_at_local_servers(os.environ)
    return examine(environment.read_settings(), servers)


def for_platform(platform: Platform, program: Program) -> list[Finding]:
    """Check what a platform would be given, or what a program there has. What is no setting at all is found first, and
    else taken as if it were not set.
    """
    if program is Program.ALL:
        environ = deploy_platforms.environment_on(platform, os.environ)
    else:
        environ = deploy_platforms.environment_in(os.environ)
    settings, wrong = _read(environ)
    if settings is None:
        return wrong
    findings = deploy_checks.examine(platform, deploy_checks.Deployment(settings, environ), program)
    named = {finding.what for finding in wrong}
    unheard_of = _unheard_of(platform, settings) if program is Program.ALL else []
    return wrong + unheard_of + [finding for finding in findings if finding.what not in named]


def _unheard_of(platform: Platform, settings: Settings) -> list[Finding]:
    """What is set in vain."""
    names = deploy_platforms.unheard_of(platform, os.environ, map(str.upper, type(settings).model_fields))
    remedy = "write it into the services' env there, or take it out here"
    return [Finding("warn", name, f"{platform}'s file, as it comes, hands it to no program", remedy) for name in names]


def _read(environ: Mapping[str, str]) -> tuple[Settings | None, list[Finding]]:
    """The settings without those that are wrong, and these; no settings where that could not be done."""
    from orchestrator.settings import SettingsError, read_elsewhere

    left, wrong = dict(environ), dict[str, Finding]()
    while True:
        try:
            return read_elsewhere(left), [*wrong.values()]
        except SettingsError as error:
            lines = str(error).splitlines()
        for finding in map(_wrong, lines):
            wrong.setdefault(finding.what, finding)
        if not any(_take_out(left, line) for line in lines):
            return None, [*wrong.values()]


def _wrong(line: str) -> Finding:
    """What an error's line says."""
    names = re.match(r"[A-Z][A-Z0-9_]+(?:(?:, | and )[A-Z][A-Z0-9_]+)*", line)
    what = names[0] if names else line.partition(" ")[0]
    found = line[len(what) :].lstrip(":, ")
    return Finding("bad", what.strip(":,"), found.partition(";")[0], "mend it, then look again")


def _take_out(environ: dict[str, str], line: str) -> bool:
    """Take out the first variable that an error's line names and that is there; returns whether there was one."""
    for name in re.findall(r"[A-Z][A-Z0-9_]+", line):
        if name in _STAND_INS and environ.get(name) != _STAND_INS[name]:
            environ[name] = _STAND_INS[name]
            return True
        if name not in _STAND_INS and environ.pop(name, None) is not None:
            return True
    return False


def examine(settings: Settings, servers: LocalServers) -> list[Finding]:
    """Check everything."""
    checks: list[Callable[[], list[Finding]]] = [
        lambda: check_redis(settings),
        lambda: check_livekit(settings),
        lambda: check_keys(settings, os.environ),
        lambda: check_memory(settings.max_bots),
        lambda: check_ports(settings, provision.wanted_ports(settings, servers)),
    ]
    return [finding for check in checks for finding in check()]


def _table(findings: list[Finding]) -> Table:
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "remedy"):
        table.add_column(column)
    for finding in findings:
        style = _STYLES[finding.state]
        table.add_row(f"[{style}]{finding.state}[/]", *map(escape, (finding.what, finding.found, finding.remedy)))
    return table
