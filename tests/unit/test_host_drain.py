"""A host's own part of a drain, over agents that are only said to be there."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.host.drain import Drain
from orchestrator.records import DrainOrder

NOW = DrainOrder(for_s=0.0, by_stop=False)
NOWHERE = Path("/nowhere/draining")
"""As a disk that takes nothing."""


@dataclass
class FakeAgent:
    phase: str = "active"
    ending: str | None = None


@dataclass
class FakeAgents:
    living: list[FakeAgent] = field(default_factory=list)
    forking: int = 0
    draining: bool = False

    def __len__(self) -> int:
        return len(self.living)

    @property
    def are_gone(self) -> bool:
        return not self.living and not self.forking

    def all(self) -> list[FakeAgent]:
        return list(self.living)

    def end_soon(self, agent: FakeAgent, reason: str) -> None:
        agent.ending = reason

    async def end_all(self, reason: str) -> None:
        for agent in self.living:
            agent.ending = reason
        self.living.clear()


@dataclass
class Told:
    """What the store was asked for."""

    asked: list[str] = field(default_factory=list)
    away: bool = False

    async def drain(self, host: str, *, by_stop: bool = False) -> None:
        self._note(f"drain {host} {by_stop}")

    async def undrain(self, host: str) -> None:
        self._note(f"undrain {host}")

    async def retire_warm(self, host: str) -> list[str]:
        self._note(f"retire {host}")
        return []

    def _note(self, what: str) -> None:
        if self.away:
            raise StoreUnavailableError
        self.asked.append(what)


class Scene:
    def __init__(self, *living: FakeAgent, timeout_s: float = 60.0, kept: Path = NOWHERE) -> None:
        self.agents, self.told, self.undrained = FakeAgents(list(living)), Told(), 0
        self.drain = Drain(
            "h1", self.agents, self.told, self.told,  # type: ignore[arg-type]
            timeout_s=timeout_s, on_undrained=self._undrained, kept=kept,
        )  # fmt: skip

    def _undrained(self) -> None:
        self.undrained += 1


async def test_without_an_order_nothing_changes() -> None:
    scene = Scene(FakeAgent("ready"))
    await scene.drain.look(None)
    assert (scene.agents.draining, scene.drain.is_done, scene.told.asked, scene.undrained) == (False, False, [], 0)


async def test_it_begins_and_ends_with_the_order() -> None:
    scene = Scene(FakeAgent())
    await scene.drain.look(NOW)
    assert scene.agents.draining
    assert scene.undrained == 0
    await scene.drain.look(None)
    assert not scene.agents.draining
    assert scene.undrained == 1, "the pool may lack agents"


async def test_agents_that_came_to_wait_meanwhile_are_retired() -> None:
    scene = Scene(FakeAgent("active"), FakeAgent("joining"))
    await scene.drain.look(NOW)
    assert scene.told.asked == []
    scene.agents.living.append(FakeAgent("ready"))
    await scene.drain.look(NOW)
    assert scene.told.asked == ["retire h1"]


async def test_it_is_done_when_nothing_is_left_or_on_its_way_and_says_so_once() -> None:
    scene = Scene(FakeAgent())
    scene.agents.forking = 1
    with capture_logs() as lines:
        await scene.drain.look(NOW)
        scene.agents.living.clear()
        await scene.drain.look(NOW)
        assert not scene.drain.is_done
        scene.agents.forking = 0
        for _ in range(3):
            await scene.drain.look(NOW)
    assert scene.drain.is_done
    assert [line["event"] for line in lines].count("host is drained") == 1


async def test_calls_are_ended_when_their_time_is_up() -> None:
    scene = Scene(FakeAgent(), FakeAgent(ending="another reason"), timeout_s=60)
    await scene.drain.look(DrainOrder(for_s=59.9, by_stop=False))
    assert scene.agents.living[0].ending is None
    await scene.drain.look(DrainOrder(for_s=60.1, by_stop=False))
    assert scene.agents.living[0].ending == "its host was drained, and DRAIN_TIMEOUT_S (60 s) was over"
    assert scene.agents.living[1].ending == "another reason"


# --- what is known without a store ---------------------------------------------------------------------


async def test_an_operators_word_outlives_the_daemon(tmp_path: Path) -> None:
    kept = tmp_path / "draining"
    first = Scene(kept=kept)
    assert not first.drain.is_ordered
    await first.drain.look(NOW)
    assert first.drain.is_ordered

    next_start = Scene(kept=kept)
    assert next_start.drain.is_ordered, "before the store was heard"
    await next_start.drain.look(None)
    assert not next_start.drain.is_ordered, "it was undrained while the daemon was away"
    assert not Scene(kept=kept).drain.is_ordered


async def test_a_stop_is_no_operators_word(tmp_path: Path) -> None:
    scene = Scene(kept=tmp_path / "draining")
    scene.drain.leave()
    await scene.drain.look(DrainOrder(0.1, by_stop=True))
    assert (scene.drain.is_ordered, list(tmp_path.iterdir())) == (False, [])


async def test_a_full_disk_does_not_keep_it_from_draining() -> None:
    scene = Scene(kept=NOWHERE)
    await scene.drain.look(NOW)
    assert (scene.agents.draining, scene.drain.is_ordered) == (True, True)


# --- a machine that is being stopped -------------------------------------------------------------------


async def test_it_drains_by_itself_and_has_the_store_know() -> None:
    scene = Scene(FakeAgent("ready"))
    scene.drain.leave()
    assert scene.agents.draining, "at once, whether the store answers or not"
    await scene.drain.look(None)
    await scene.drain.look(DrainOrder(0.1, by_stop=True))
    assert scene.told.asked == ["drain h1 True", "retire h1", "retire h1"]
    assert scene.agents.draining


async def test_what_an_earlier_stop_left_is_taken_back() -> None:
    scene = Scene()
    await scene.drain.look(DrainOrder(9.0, by_stop=True))
    assert scene.told.asked == ["undrain h1"]
    assert not scene.agents.draining


async def test_a_stop_waits_until_the_last_one_is_gone() -> None:
    scene = Scene(FakeAgent())
    scene.drain.leave()
    waiting = asyncio.create_task(scene.drain.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    scene.agents.living.clear()
    await asyncio.wait_for(waiting, 10)


async def test_a_stop_ends_what_its_time_does_not_suffice_for_also_without_a_store() -> None:
    call = FakeAgent()
    scene = Scene(call, timeout_s=0.01)
    scene.told.away = True
    scene.drain.leave()
    with pytest.raises(StoreUnavailableError):
        await scene.drain.look(None)
    await asyncio.wait_for(scene.drain.wait(), 10)
    assert call.ending == "its host was drained, and DRAIN_TIMEOUT_S (0.01 s) was over"
