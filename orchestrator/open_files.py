"""How many files this process may have open: sockets are files, too."""

from __future__ import annotations

import resource
import sys


def may_be_many() -> int:
    """Raise this process's limit as far as it may, and return it.

    The usual 1024 is for programs that use select(2). In a host each agent takes two, in an API each connection one.
    Agents have their own limit (``AGENT_OPEN_FILES``, ``agent.confine``).
    """
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return sys.maxsize if hard == resource.RLIM_INFINITY else hard
