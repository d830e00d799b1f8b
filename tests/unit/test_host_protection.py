"""A host with calls keeps its ECS task from being stopped, and one without lets it go."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from orchestrator.adapters.ecs_task import EcsTask
from orchestrator.domain.errors import ProtectionUnavailableError
from orchestrator.host.protection import MINUTES, RENEW_S, RETRY_S, Protection
from tests.support.ecs_agent import TASK, EcsAgent, ecs_agent

DENIED = {
    "requestID": "b1",
    "error": {"Arn": TASK, "Code": "AccessDeniedException", "Message": "not authorized: ecs:UpdateTaskProtection"},
}
NOT_OF_A_SERVICE = {"failure": {"Arn": TASK, "Reason": "TASK_NOT_VALID", "Detail": "The task is not part of a service"}}


class Scene:
    def __init__(self, agent: EcsAgent) -> None:
        self.agent = agent
        self.task = EcsTask(agent.uri)
        self.now, self.calls = 100.0, 0
        self.protection = Protection(self.task, lambda: self.calls > 0, clock=lambda: self.now)

    async def look_after(self, seconds: float) -> None:
        self.now += seconds
        await self.protection.look()


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    async with ecs_agent() as agent:
        scene = Scene(agent)
        yield scene
        await scene.task.aclose()


async def test_it_is_protected_from_the_first_call_to_the_last(scene: Scene) -> None:
    scene.calls = 1
    await scene.look_after(1)
    assert scene.agent.heard == [{"ProtectionEnabled": True, "ExpiresInMinutes": MINUTES}]
    scene.calls = 2
    await scene.look_after(1)
    scene.calls = 1
    await scene.look_after(1)
    assert len(scene.agent.heard) == 1, "nothing changed"
    scene.calls = 0
    await scene.look_after(1)
    assert not scene.agent.protected
    await scene.look_after(RENEW_S * 3)
    assert len(scene.agent.heard) == 2, "what is not protected need not be renewed"


async def test_it_is_renewed_before_it_expires(scene: Scene) -> None:
    scene.calls = 1
    await scene.look_after(0)
    await scene.look_after(RENEW_S - 1)
    assert len(scene.agent.heard) == 1
    await scene.look_after(1)
    assert [each["ProtectionEnabled"] for each in scene.agent.heard] == [True, True]
    assert MINUTES * 60 > RENEW_S


async def test_what_an_earlier_daemon_said_is_taken_back(scene: Scene) -> None:
    await scene.look_after(0)
    assert scene.agent.heard == [{"ProtectionEnabled": False}]


@pytest.mark.parametrize(
    ("refusal", "reason"),
    [
        (DENIED, "AccessDeniedException: not authorized: ecs:UpdateTaskProtection"),
        (NOT_OF_A_SERVICE, "TASK_NOT_VALID: The task is not part of a service"),
        ({"protection": {"ProtectionEnabled": False}}, "ECS's agent did not confirm it"),
    ],
)
async def test_a_refusal_is_said_once_and_tried_again(scene: Scene, refusal: dict[str, object], reason: str) -> None:
    scene.calls, scene.agent.refusal = 1, refusal
    with capture_logs() as lines:
        await scene.look_after(0)
        await scene.look_after(RETRY_S)
    assert [(line["log_level"], line["reason"]) for line in lines] == [("error", reason)]
    scene.agent.refusal = None
    await scene.look_after(1)
    assert scene.agent.heard == [], "not at every look"
    await scene.look_after(RETRY_S)
    assert scene.agent.protected


@pytest.mark.parametrize("answer", [[], "no", {"protection": "yes"}])
async def test_what_is_not_its_protocol_is_an_error_of_ours(scene: Scene, answer: object) -> None:
    scene.agent.refusal = answer  # type: ignore[assignment]
    with pytest.raises(ProtectionUnavailableError):
        await scene.task.protect(MINUTES)


async def test_an_agent_that_is_not_there_is_an_error_of_ours() -> None:
    async with ecs_agent() as agent:
        gone = agent.uri
    task = EcsTask(gone)
    with pytest.raises(ProtectionUnavailableError):
        await task.release()
    await task.aclose()
