"""The Amazon ECS task that this program runs in: kept from being stopped, by ECS's agent beside it.

Source: Amazon ECS Developer Guide, "Task scale-in protection endpoint". ``$ECS_AGENT_URI/task-protection/v1/state``
takes ``ProtectionEnabled`` and ``ExpiresInMinutes``, and answers with one of ``protection``, ``failure`` and ``error``.
The task's role needs ``ecs:GetTaskProtection`` and ``ecs:UpdateTaskProtection``.
"""

from __future__ import annotations

from typing import Any

import httpx

from orchestrator.domain.errors import ProtectionUnavailableError

TIMEOUT_S = 5.0


class EcsTask:
    """``host.protection.Protectable`` on ECS's agent."""

    def __init__(self, agent_uri: str) -> None:
        self._state = f"{agent_uri.rstrip('/')}/task-protection/v1/state"
        # The agent is on the task's own link: no proxy leads there.
        self._client = httpx.AsyncClient(timeout=TIMEOUT_S, trust_env=False)

    async def protect(self, minutes: int) -> None:
        """See ``host.protection.Protectable``."""
        await self._put({"ProtectionEnabled": True, "ExpiresInMinutes": minutes})

    async def release(self) -> None:
        """See ``host.protection.Protectable``."""
        await self._put({"ProtectionEnabled": False})

    async def aclose(self) -> None:
        """Close the connection to the agent."""
        await self._client.aclose()

    async def _put(self, wanted: dict[str, Any]) -> None:
        try:
            answer = (await self._client.put(self._state, json=wanted)).json()
            said = answer.get("protection", {}).get("ProtectionEnabled")
        except (httpx.HTTPError, ValueError, AttributeError) as error:
            raise ProtectionUnavailableError from error
        if said is not wanted["ProtectionEnabled"]:
            raise ProtectionUnavailableError(_why(answer))


def _why(answer: dict[str, Any]) -> str:
    """In the agent's words; which of its two kinds of refusal it is makes no difference here."""
    refusal = answer.get("failure") or answer.get("error") or {}
    words = [str(refusal[name]) for name in ("Reason", "Code", "Detail", "Message") if refusal.get(name)]
    return ": ".join(words)[:300] or "ECS's agent did not confirm it"
