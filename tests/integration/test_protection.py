"""A real host in an ECS task, whose agent is played by a server here: its calls keep the task from being stopped."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchestrator.services.start import Handed
from tests.support.ecs_agent import EcsAgent, ecs_agent
from tests.support.stack import Stack, eventually, running_stack

pytestmark = pytest.mark.timeout(180)


@asynccontextmanager
async def _stack(**settings: str) -> AsyncIterator[Stack]:
    """Started and stopped beside this loop, which has ECS's agent to play meanwhile."""
    stack = running_stack(worker=True, **settings)
    try:
        yield await asyncio.to_thread(stack.__enter__)
    finally:
        await asyncio.to_thread(stack.__exit__, None, None, None)


async def _hears(agent: EcsAgent, *, protected: bool) -> None:
    async def look() -> bool:
        return bool(agent.heard) and agent.protected is protected

    await eventually(look, what=f"the task is {'protected' if protected else 'not protected'}")


async def test_the_task_is_protected_while_a_call_runs() -> None:
    async with ecs_agent() as agent, _stack(
        PREWARM_POOL_SIZE="1", ACK_TIMEOUT_S="1.5", ECS_AGENT_URI=agent.uri
    ) as stack, stack.container() as backend:  # fmt: skip
        await backend.pool_has(1)
        await _hears(agent, protected=False)
        handed = await backend.start("ada")
        assert isinstance(handed, Handed)
        await _hears(agent, protected=True)
        await backend.end(handed.session_id)
        await _hears(agent, protected=False)
