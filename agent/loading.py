"""Load the user's own agent by its name, ``module:callable``."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from contract.messages import Assignment

AgentFactory = Callable[[Assignment], Any]
"""Returns a ``livekit.agents.Agent`` for an assignment."""


class AgentLoadError(Exception):
    """``AGENT`` names nothing that can be called; the message says what to do."""


def load_agent(name: str) -> AgentFactory:
    """The callable that ``AGENT`` names. The working directory is on the path, as it is for ``python -m``.

    Raises:
        AgentLoadError: the module cannot be imported, or has no such callable.
    """
    module_name, _, attribute = name.partition(":")
    if os.getcwd() not in sys.path:  # noqa: PTH109 - sys.path holds strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    try:
        factory = getattr(importlib.import_module(module_name), attribute)
    except Exception as error:
        raise AgentLoadError(f"AGENT={name}: {type(error).__name__}: {error}") from error
    if not callable(factory):
        raise AgentLoadError(f"AGENT={name}: {attribute} should be a callable that returns an Agent")
    result: AgentFactory = factory
    return result
