"""supervisord's event listener: ``python -m orchestrator.cli.fatal_listener``, named in ``supervisord.conf``.

supervisord leaves a program alone once it has given it up, and would run on without it: this ends
everything instead, so that whoever started it (a person, a container's platform) sees that it failed. And
when everything is being ended, however that began, it retires the host, so that no agent is left behind.

Protocol: ``READY`` out; a header line and a payload in; ``RESULT 2`` and ``OK`` out.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from typing import TextIO

from orchestrator.cli.console import CommandError
from orchestrator.cli.retire import retire_host

STOPPING = "SUPERVISOR_STATE_CHANGE_STOPPING"


def main() -> None:
    """Serve events until supervisord closes the pipe."""
    stopping = False
    while (event := _next_event(sys.stdin, sys.stdout)) is not None:
        name, payload = event
        if name == STOPPING:
            stopping = True
            _retire()
        elif not stopping:  # while stopping, giving up what was about to be restarted is in order
            _end_all(payload["processname"])
        sys.stdout.write("RESULT 2\nOK")
        sys.stdout.flush()


def _next_event(source: TextIO, sink: TextIO) -> tuple[str, dict[str, str]] | None:
    sink.write("READY\n")
    sink.flush()
    line = source.readline()
    if not line:
        return None
    header = _pairs(line)
    return header["eventname"], _pairs(source.read(int(header["len"])))


def _pairs(text: str) -> dict[str, str]:
    return dict(part.split(":", 1) for part in text.split())


def _end_all(program: str) -> None:
    event = "a program keeps ending and was given up, so everything is ended"
    sys.stderr.write(json.dumps({"level": "critical", "event": event, "program": program}) + "\n")
    sys.stderr.flush()
    os.kill(os.getppid(), signal.SIGTERM)


def _retire() -> None:
    from orchestrator.cli.environment import read_settings

    try:
        settings = read_settings()
    except CommandError:
        return  # with settings that are wrong, no host was started
    if not settings.drain_on_term:  # else the signal that it is sent next lets its calls end
        retire_host(settings.host_socket)


if __name__ == "__main__":
    main()
