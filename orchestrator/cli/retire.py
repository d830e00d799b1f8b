"""Tells this machine's host that everything is being ended."""

from __future__ import annotations

import socket
from pathlib import Path

from contract.messages import ProtocolError, Retire, Retired, parse_line

ANSWER_S = 3.0


def retire_host(path: Path) -> int | None:
    """Ask the host for no more spawns, and to end its agents when it is told to stop.

    Returns how many agents it has; None when no host answers, which then has nothing to end.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(ANSWER_S)
        try:
            sock.connect(str(path))
            sock.sendall(Retire().to_line())
            with sock.makefile("rb") as answers:
                answer = parse_line(answers.readline())
        except (OSError, ProtocolError):
            return None
    return answer.agents if isinstance(answer, Retired) else None
