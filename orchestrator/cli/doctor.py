"""``greenroom doctor``: what a run needs, checked one by one, each with what to mend."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from orchestrator.cli import console, deploy_checks, deploy_platforms, environment, provision
from orchestrator.cli.checks import Finding, check_keys, check_livekit, check_memory, check_ports, check_redis
from orchestrator.cli.console import CommandError
from orchestrator.cli.deploy_platforms import Platform
from orchestrator.cli.environment import LocalServers

if TYPE_CHECKING:
    from orchestrator.settings import Settings

_STYLES = {"ok": "green", "warn": "yellow", "bad": "bold red"}


def doctor(
    deploy: Annotated[
        Platform | None, typer.Option(help="Check the settings for this platform instead, and say what is missing.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings as JSON.")] = False,
) -> None:
    """Check Redis, LiveKit (by joining a room), keys, memory and ports; exit with 1 if something must be mended."""
    dotenv = Path.cwd() / ".env"
    environment.merge_dotenv(dotenv, os.environ)
    findings = for_platform(deploy) if deploy else for_this_machine(dotenv)
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


def for_platform(platform: Platform) -> list[Finding]:
    """Check what a platform would be given. What is no setting at all is found first, and mended first."""
    environ = deploy_platforms.environment_on(platform, os.environ)
    for name in os.environ.keys() - environ.keys():  # what does not get there is not judged
        del os.environ[name]
    os.environ |= environ
    try:
        settings = environment.read_settings()
    except CommandError as error:
        lines = (line.partition(";")[0].partition(": ") for line in str(error).splitlines())
        return [Finding("bad", name, found, "mend it, then look again") for name, _, found in lines]
    return deploy_checks.examine(platform, deploy_checks.Deployment(settings, os.environ))


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
