"""``greenroom status``, ``resize``, ``end`` and ``logs``: the API's admin calls, for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import sleep
from typing import Annotated, Any

import typer
from rich.markup import escape

from orchestrator.cli import console
from orchestrator.cli.client import AdminClient, find_api
from orchestrator.cli.console import CommandError
from orchestrator.cli.pool_view import Overview, drawn, log_line

WATCH_S = 1.0
FOLLOW_S = 0.5
FOLLOWED_LINES = 1000
"""As many as the API gives: more than an agent writes between two looks."""
OVER = ("ended", "failed")
SESSIONS_SHOWN = 50

SessionId = Annotated[str, typer.Argument(metavar="ID", help="The session's id.")]


def status(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Look again every second, until Ctrl-C.")] = False,
) -> None:
    """Show the pool, the hosts and the newest sessions."""
    with find_api() as api:
        if watch:
            _until_interrupted(lambda: _watch(api, as_json=as_json))
            return
        _print(_look(api), as_json=as_json)


def resize(
    size: Annotated[int, typer.Argument(help="How many agents should wait.")],
    agent: Annotated[str | None, typer.Option(help="The kind of agent; else the default one.")] = None,
) -> None:
    """Set how many agents wait in the pool."""
    body = {"size": size} if agent is None else {"size": size, "agent": agent}
    with find_api() as api:
        done = api.post("/api/pool/resize", body)
    pool = "the pool" if agent is None else f"the pool of {agent}"
    console.step(f"{pool} moves from {done['previous']} to {done['size']} agents; `greenroom status` says how far")


def end(session_id: SessionId) -> None:
    """End a session and its agent."""
    with find_api() as api:
        done = api.delete(f"/api/session/{_safe(session_id)}")
    console.step(f"{session_id} {'has ended' if done['changed'] else 'was over before'}")


def logs(
    session_id: SessionId,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the session is over.")] = False,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=1000, help="How many lines.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print each line as JSON.")] = False,
) -> None:
    """Print the newest lines of a session's agent, oldest first."""
    with find_api() as api:
        path = f"/api/session/{_safe(session_id)}"
        lines = api.get(f"{path}/logs", limit=limit)["lines"]
        _print_lines(lines, as_json=as_json)
        if follow:
            _until_interrupted(lambda: _follow(api, path, lines, as_json=as_json))


def _safe(session_id: str) -> str:
    """An id as a part of an address; whether it is one is for the API to say."""
    if not session_id.replace("_", "").isalnum():
        raise CommandError(f"{session_id!r} is no session id: `greenroom status` lists them")
    return session_id


def _until_interrupted(action: Callable[[], None]) -> None:
    try:
        action()
    except KeyboardInterrupt:
        raise typer.Exit(0) from None  # how one leaves it


# --- status --------------------------------------------------------------------------------------------


def _look(api: AdminClient) -> Overview:
    return Overview(
        health=api.health(),
        pool=api.get("/api/pool"),
        hosts=api.get("/api/hosts")["hosts"],
        sessions=api.get("/api/sessions", limit=SESSIONS_SHOWN)["sessions"],
    )


def _print(overview: Overview, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(overview.as_json()), flush=True)  # noqa: T201 - for programs: without a terminal's width
    else:
        console.out.print(drawn(overview, console.out.width))


def _watch(api: AdminClient, *, as_json: bool) -> None:
    if as_json or not console.out.is_terminal:
        while True:
            _print(_look(api), as_json=as_json)
            sleep(WATCH_S)
    from rich.live import Live

    with Live(drawn(_look(api), console.out.width), console=console.out, screen=True, auto_refresh=False) as live:
        while True:
            sleep(WATCH_S)
            live.update(_drawn_or_why(api), refresh=True)


def _drawn_or_why(api: AdminClient) -> Any:
    """While watching, an API that is away for a while is something to see and no reason to end."""
    try:
        return drawn(_look(api), console.out.width)
    except CommandError as error:
        return f"[bold red]{escape(str(error))}[/]"


# --- logs ----------------------------------------------------------------------------------------------


def _follow(api: AdminClient, path: str, seen: list[dict[str, Any]], *, as_json: bool) -> None:
    while True:
        over = api.get(path)["status"] in OVER  # asked first, so that the last lines are not missed
        lines = api.get(f"{path}/logs", limit=FOLLOWED_LINES)["lines"]
        _print_lines(lines[_known(seen, lines) :], as_json=as_json)
        seen = lines
        if over:
            return
        sleep(FOLLOW_S)


def _known(seen: list[dict[str, Any]], lines: list[dict[str, Any]]) -> int:
    """How many of ``lines`` were seen: up to where the newest seen ones are found again."""
    for count in range(len(lines), 0, -1):
        overlap = min(count, len(seen))
        if overlap and lines[count - overlap : count] == seen[-overlap:]:
            return count
    return 0


def _print_lines(lines: list[dict[str, Any]], *, as_json: bool) -> None:
    for line in lines:
        print(json.dumps(line) if as_json else log_line(line), flush=True)  # noqa: T201 - verbatim, not as markup
