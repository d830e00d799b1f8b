"""Load the agent's code and settings anew for a rollout: what is on disk now, beside what forks until then."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from io import StringIO
from pathlib import Path

import structlog
from dotenv import dotenv_values

from orchestrator.agent_environment import agent_environment
from orchestrator.host.agent_user import AgentUser
from orchestrator.host.zygote import ZygoteCommand, ZygoteUnavailableError
from orchestrator.host.zygotes import Zygotes
from orchestrator.settings import Settings

log = structlog.get_logger("greenroom.host")

LOAD_TIMEOUT_S = 60.0
THREADS_EACH = 128
"""For each of ``MAX_BOTS``: the kernel counts a user's threads as processes, and an agent in a call has some thirty."""
ZYGOTE_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # a thread before the fork would be lost in it
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",  # an arena for each of LiveKit's threads costs an agent 2 MB more
}


class ZygoteSource:
    """How to start the zygotes, as the settings are at the moment."""

    def __init__(self, settings: Settings, user: AgentUser | None, dotenv: Path) -> None:
        self._settings = settings
        self._user = user
        self._dotenv = dotenv
        self._at_start = _read(dotenv) or {}

    def commands(self) -> dict[str, ZygoteCommand]:
        """One for each kind that this host serves: with the environment of this process, but what ``.env`` said when it
        started as ``.env`` says now, and the kinds as ``AGENTS_FILE`` has them now.

        Raises:
            ZygoteUnavailableError: that file is wrong.
        """
        says = _read(self._dotenv)
        changed = {
            name: value
            for name, value in (self._at_start if says is None else says).items()
            if os.environ.get(name, "") in ("", self._at_start.get(name))
        }
        gone = {n for n, v in self._at_start.items() if n not in changed and v and os.environ.get(n) == v}
        settings, user = self._settings, self._user
        environment = agent_environment(settings.agent_env, changed, gone) | ZYGOTE_ENVIRONMENT
        environment["HOST_ID"] = settings.host_id
        try:
            kinds = settings.read_kinds(changed.get("AGENT", settings.agent))
        except ValueError as error:
            raise ZygoteUnavailableError(str(error)) from None
        return {
            name: ZygoteCommand(
                changed.get("ZYGOTE_MODULE", settings.zygote_module),
                kinds.by_name[name].agent,
                environment | user.environment if user else environment,
                home=str(settings.greenroom_home.absolute()),
                user=user,
                processes=settings.max_bots * THREADS_EACH,
                kind=name,
                memory_mb=kinds.by_name[name].memory_mb,
            )
            for name in kinds.served
        }


def _read(dotenv: Path) -> Mapping[str, str] | None:
    """What it sets; None when it is not there or cannot be read."""
    try:
        text = dotenv.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        log.warning(".env cannot be read; its settings stay as they were", reason=str(error))
        return None
    values = dotenv_values(stream=StringIO(text), interpolate=False)
    return {name: value for name, value in values.items() if value}


class Renewal:
    """Follows rollouts, one at a time. ``rollout`` and ``error`` say what came of the last one."""

    def __init__(self, zygotes: Zygotes, source: ZygoteSource) -> None:
        self._zygotes = zygotes
        self._source = source
        self._lock = asyncio.Lock()
        self.rollout = ""
        self.error = ""

    async def follow(self, rollout_id: str) -> bool:
        """Load everything anew for this rollout; false when that was done before. Agents are not touched."""
        async with self._lock:
            if rollout_id == self.rollout:
                return False
            error = ""
            try:
                await self._zygotes.renew(self._source.commands(), LOAD_TIMEOUT_S)
            except ZygoteUnavailableError as failure:
                error = str(failure)
                log.error("the code for a rollout could not be loaded", rollout=rollout_id, reason=error)  # noqa: TRY400
            self.rollout, self.error = rollout_id, error
            return True
