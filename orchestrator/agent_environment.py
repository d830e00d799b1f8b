"""What agents are given of the environment."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from fnmatch import fnmatchcase
from types import MappingProxyType

from orchestrator.settings import AGENT_VARIABLES, SECRETS


def agent_environment(
    more: Sequence[str] = (), changed: Mapping[str, str] = MappingProxyType({}), gone: Collection[str] = ()
) -> dict[str, str]:
    """What the zygote and its agents inherit: what programs need on this machine, providers' keys, and ``more``.

    Args:
        more: names, and patterns with ``*``. None of the orchestrator's own secrets is given, whatever they say.
        changed: what goes before this process's environment.
        gone: names that are in this process's environment, and are not to be.
    """
    wanted = (*AGENT_VARIABLES, *more)
    return {
        name: value
        for name, value in (os.environ | changed).items()
        if name.upper() not in SECRETS and name not in gone and any(fnmatchcase(name, pattern) for pattern in wanted)
    }
