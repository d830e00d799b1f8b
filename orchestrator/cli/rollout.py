"""``greenroom rollout``: put changed code or settings of the agent into service, without ending a call."""

from __future__ import annotations

from collections.abc import Mapping
from time import sleep
from typing import Annotated, Any

import typer

from orchestrator.cli import console
from orchestrator.cli.client import AdminClient, find_api
from orchestrator.cli.console import CommandError

LOOK_S = 0.5


def rollout(
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when it is done or has failed.")] = True,
) -> None:
    """Have each host load the agent anew, then recycle the agents that wait, a few at a time; never one in a call."""
    with find_api() as api:
        answer = api.post("/api/rollout", {})
        console.step("the rollout begins" if answer["began"] else "a rollout is under way already")
        if wait:
            _follow(api, answer["rollout"])


def _follow(api: AdminClient, view: Mapping[str, Any]) -> None:
    """Say each change once. Ctrl-C leaves it going on."""
    told = ""
    try:
        while view["state"] == "running":
            if view["detail"] and view["detail"] != told:
                told = view["detail"]
                console.step(told)
            sleep(LOOK_S)
            view = api.get("/api/rollout")["rollout"] or _lost()
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    if view["state"] == "failed":
        raise CommandError(f"the rollout failed: {view['detail']}. Agents that were not recycled wait on as they are")
    console.step(f"done: {view['recycled']} agents recycled")


def _lost() -> Mapping[str, Any]:
    raise CommandError("the rollout is forgotten: Redis came back empty. Begin it again")
