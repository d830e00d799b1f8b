"""``greenroom healthy``: whether what ``greenroom serve`` started in this container is well; for its health check.

It asks this container's programs and nothing outside: while Redis is away calls go on, and a platform that restarted
the container for that would end them. Whether starts can be served is ``/health/ready``'s to say.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xmlrpc.client import Error, ServerProxy

from orchestrator.cli import environment
from orchestrator.cli.console import CommandError
from orchestrator.cli.readiness import answers
from orchestrator.cli.serve import Program, served

if TYPE_CHECKING:
    from orchestrator.settings import Settings

SETTLED_S = 5
"""After so long a program counts as running, while supervisord still waits to see that it stays (``startsecs``)."""


def healthy() -> None:
    """Exit with 0 when every program of this container is well, else with 1 and a line for each that is not."""
    settings = environment.read_settings()
    found = served(settings.greenroom_home.absolute())
    if found is None:
        raise CommandError("`greenroom serve` has started nothing here")
    programs, supervised = found
    reasons = list(problems(settings, programs, supervised=supervised))
    if reasons:
        raise CommandError("\n".join(reasons))


def problems(settings: Settings, programs: list[str], *, supervised: bool) -> Iterator[str]:
    """What is wrong, each in words. A program by itself that has ended has ended its container, and is not looked for.

    Raises:
        CommandError: supervisord itself does not answer.
    """
    if supervised:
        states = _states(settings.greenroom_home.absolute() / "supervisor.sock")
        if states is None:
            return  # everything is being ended, in its order: a host may let its calls end
        yield from (f"{name} is {state.lower()}" for name, state in states.items() if state != "RUNNING")
    if Program.API.value in programs:
        url = f"http://{environment.reachable_at(settings.bind)}:{settings.port}"
        if not answers(url):
            yield f"the API does not answer at {url}/health/live"
    if Program.HOST.value in programs and not _host_answers(settings.host_socket):
        yield "the host does not answer on its socket"


def _states(socket: Path) -> dict[str, str] | None:
    """The programs under supervisord and their states; None while it ends them."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(None, None, f"unix://{socket}")
    try:
        rpc: Any = ServerProxy("http://127.0.0.1", transport).supervisor
        if rpc.getState()["statename"] != "RUNNING":
            return None
        return {info["name"]: _state(info) for info in rpc.getAllProcessInfo()}
    except (OSError, HTTPException, Error) as error:
        raise CommandError(f"supervisord does not answer: {error}") from None
    finally:
        transport.close()


def _state(info: Mapping[str, Any]) -> str:
    settled = info["statename"] == "STARTING" and info["now"] - info["start"] >= SETTLED_S
    return "RUNNING" if settled else str(info["statename"])


def _host_answers(socket: Path) -> bool:
    from orchestrator.adapters.local_host import UnixHost
    from orchestrator.domain.errors import HostUnavailableError

    try:
        asyncio.run(UnixHost(socket).check())
    except HostUnavailableError:
        return False
    return True
