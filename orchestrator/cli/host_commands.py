"""``greenroom drain`` and ``undrain``: take a machine out of service, and put it back."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from time import sleep
from typing import Annotated, Any

import typer

from contract.keys import HOST_ID_PATTERN
from orchestrator.cli import console
from orchestrator.cli.client import AdminClient, find_api
from orchestrator.cli.console import CommandError

LOOK_S = 1.0

Host = Annotated[str | None, typer.Argument(metavar="HOST", help="The host's id; none: the only one, or HOST_ID.")]


def drain(
    host: Host = None,
    wait: Annotated[bool, typer.Option("--wait", "-w", help="Return when its last call has ended.")] = False,
) -> None:
    """Take a host out of service: it starts nothing more, and its calls go on until they end."""
    with find_api() as api:
        name = _chosen(api, host)
        view = api.post(f"/api/hosts/{name}/drain", {})
        console.step(f"{name} drains: {_left(view)}")
        if wait:
            _until_drained(api, name)


def undrain(host: Host = None) -> None:
    """Have a drained host take sessions again."""
    with find_api() as api:
        name = _chosen(api, host)
        api.post(f"/api/hosts/{name}/undrain", {})
    console.step(f"{name} takes sessions again")


def _chosen(api: AdminClient, host: str | None) -> str:
    """The one that is named, else this machine's by its settings, else the only one there is."""
    if host is None:
        known = [view["host"] for view in api.get("/api/hosts")["hosts"]]
        own = os.environ.get("HOST_ID")
        if own not in known and len(known) != 1:
            raise CommandError(f"which host? {', '.join(known) or 'none has reported'}")
        host = own if own in known else known[0]
    if host is None or not re.fullmatch(HOST_ID_PATTERN, host):
        raise CommandError(f"{host!r} is no host's id: `greenroom status` lists them")
    return host


def _left(view: Mapping[str, Any]) -> str:
    if view["drained"]:
        return "nothing is left on it"
    if not view["alive"]:
        return "its daemon is away, and heeds it when it is back"
    return f"{view['agents']} agents were on it at its last heartbeat"


def _until_drained(api: AdminClient, name: str) -> None:
    try:
        while True:
            view = next((view for view in api.get("/api/hosts")["hosts"] if view["host"] == name), None)
            if view is None or not view["draining"]:
                raise CommandError(f"{name} does not drain any more")
            if view["drained"]:
                console.step(f"{name} is drained")
                return
            sleep(LOOK_S)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None  # it goes on draining
