"""Tells this machine's host that everything is being ended."""

from __future__ import annotations

import asyncio
from pathlib import Path

from orchestrator.adapters.local_host import UnixHost
from orchestrator.domain.errors import HostUnavailableError


def retire_host(path: Path) -> int | None:
    """Ask the host for no more spawns, and to end its agents when it is told to stop.

    Returns how many agents it has; None when no host answers, which then has nothing to end.
    """
    try:
        return asyncio.run(UnixHost(path).retire()).agents
    except HostUnavailableError:
        return None
