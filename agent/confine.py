"""What an agent's process may use up, set after the fork and before its session begins. Its children inherit it."""

from __future__ import annotations

import os
import resource

from contract.messages import AgentLimits
from contract.prctl import set_name

STACKS_MB = 1024
"""Beside its memory: RLIMIT_DATA counts addresses, also those of threads' stacks that nobody touches."""


def confine(limits: AgentLimits) -> None:
    """Limit this process, and let it yield to the host and the API. It is hidden, as the zygote was."""
    set_name("greenroom-agent")
    _at_most(resource.RLIMIT_CORE, 0)
    _at_most(resource.RLIMIT_NOFILE, limits.open_files)
    _at_most(resource.RLIMIT_DATA, (limits.memory_mb + STACKS_MB) * 2**20)
    os.nice(limits.nice)


def limit_processes(most: int) -> None:
    """So many processes and threads of this user at once, all agents' together; nothing where the user is root."""
    if os.geteuid() != 0:
        _at_most(resource.RLIMIT_NPROC, most)


def _at_most(what: int, most: int) -> None:
    """The hard limit as well: it cannot be raised again. A lower one that is set already stays."""
    hard = resource.getrlimit(what)[1]
    lowest = most if hard == resource.RLIM_INFINITY else min(most, hard)
    resource.setrlimit(what, (lowest, lowest))
