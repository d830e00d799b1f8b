"""A host ends its agents when it is cut off, and only then."""

from __future__ import annotations

import asyncio

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.errors import RoomsUnavailableError, RoomsUnreachableError
from orchestrator.host.fence import REASON, Fence

AFTER_S = 8.0
STEP_S = 0.1


class Scene:
    """A host with two agents, whose heartbeats stop at 0."""

    def __init__(self) -> None:
        self.now = 100.0
        self.livekit = "away"
        self.pings = 0
        self.killed: list[str] = []
        self.agents = 2
        self.fence = Fence(self, self, after_s=AFTER_S, clock=lambda: self.now)

    def __len__(self) -> int:
        return self.agents

    def kill_all(self, reason: str) -> None:
        self.killed.append(reason)
        self.agents = 0

    async def ping(self) -> None:
        self.pings += 1
        if self.livekit == "away":
            raise RoomsUnreachableError
        if self.livekit == "refuses":
            raise RoomsUnavailableError("LiveKit refused: HTTP 503")
        if self.livekit == "silent":
            self.now += AFTER_S / 4
            raise TimeoutError

    async def silent_until(self, silent_s: float) -> None:
        while self.now < 100.0 + silent_s:
            self.now += STEP_S
            await self.fence.look()


@pytest.fixture
def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("livekit", ["away", "silent"])
async def test_it_ends_its_agents_in_time_and_not_before(scene: Scene, livekit: str) -> None:
    scene.livekit = livekit
    await scene.silent_until(AFTER_S - STEP_S)
    assert scene.killed == []
    await scene.silent_until(AFTER_S + STEP_S)
    assert scene.killed == [REASON]


@pytest.mark.parametrize("livekit", ["there", "refuses"])
async def test_while_only_the_store_is_away_calls_go_on(scene: Scene, livekit: str) -> None:
    scene.livekit = livekit
    await scene.silent_until(10 * AFTER_S)
    assert scene.killed == []
    assert scene.pings <= 10 * 8, "now and then is enough"
    scene.livekit, asked = "away", scene.pings
    while scene.pings == asked:
        await scene.silent_until(scene.now - 100 + STEP_S)
    assert scene.killed == [], "one answer may be lost"
    await scene.silent_until(scene.now - 100 + 3 * STEP_S)
    assert scene.killed == [REASON], "its machine was cut off after that"


async def test_a_host_that_is_heard_asks_nothing_of_livekit(scene: Scene) -> None:
    for _ in range(50):
        await scene.silent_until(scene.now - 100 + 1)
        scene.fence.heard(scene.now)
    assert (scene.pings, scene.killed) == (0, [])


async def test_what_was_in_vain_before_it_was_heard_does_not_count(scene: Scene) -> None:
    await scene.silent_until(AFTER_S - STEP_S)
    scene.fence.heard(scene.now)
    scene.livekit = "there"
    await scene.silent_until(3 * AFTER_S)
    assert scene.killed == []


async def test_without_agents_nothing_is_said(scene: Scene) -> None:
    scene.agents = 0
    with capture_logs() as lines:
        await scene.silent_until(3 * AFTER_S)
    assert (scene.killed, lines) == ([], [])


async def test_livekit_is_not_waited_for_longer_than_there_is_time(scene: Scene) -> None:
    async def never() -> None:
        await asyncio.Event().wait()

    scene.ping = never  # type: ignore[method-assign]
    fence = Fence(scene, scene, after_s=0.04, clock=lambda: scene.now)
    scene.now += 1.0
    for _ in range(3):
        await fence.look()
    assert scene.killed == [REASON]
