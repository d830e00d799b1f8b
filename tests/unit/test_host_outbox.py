"""What the host has to tell the store: in order, through an outage, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from orchestrator.domain.errors import GreenroomError, QueueUnavailableError, StoreUnavailableError
from orchestrator.host import outbox as module
from orchestrator.host.outbox import Outbox


class Store:
    """Takes reports, unless it is away."""

    def __init__(self) -> None:
        self.heard: list[int] = []
        self.away = False
        self.error: type[GreenroomError] = StoreUnavailableError
        self.asked = 0

    def report(self, number: int) -> Callable[[], Coroutine[None, None, None]]:
        async def report() -> None:
            self.asked += 1
            await asyncio.sleep(0)
            if self.away:
                raise self.error
            self.heard.append(number)

        return report


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RETRY_S", 0.001)


@pytest.fixture
async def outbox() -> AsyncIterator[Outbox]:
    outbox = Outbox()
    task = asyncio.create_task(outbox.run())
    yield outbox
    assert not task.done(), "it runs on whatever it was given"
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


async def test_reports_are_made_in_order(outbox: Outbox) -> None:
    store = Store()
    for number in range(100):
        outbox.put(store.report(number))
    await until(lambda: len(store.heard) == 100)
    outbox.put(store.report(100))
    await until(lambda: len(store.heard) == 101)
    assert store.heard == list(range(101))


async def test_an_outage_keeps_the_order(outbox: Outbox) -> None:
    store = Store()
    store.away = True
    for number in range(10):
        outbox.put(store.report(number))
    await until(lambda: store.asked > 5)
    assert store.heard == []
    outbox.put(store.report(10))
    store.away = False
    await until(lambda: len(store.heard) == 11)
    assert store.heard == list(range(11))


async def test_a_report_that_fails_does_not_hold_up_the_others(
    outbox: Outbox, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store()

    async def broken() -> None:
        raise RuntimeError("a bug")

    outbox.put(broken)
    outbox.put(store.report(1))
    await until(lambda: store.heard == [1])
    assert "a report failed" in capsys.readouterr().out


async def test_a_long_outage_is_bounded_and_keeps_the_newest(outbox: Outbox) -> None:
    store = Store()
    store.away = True
    for number in range(module.KEPT + 50):
        outbox.put(store.report(number))
    await until(lambda: store.asked > 2)
    outbox.put(store.report(module.KEPT + 50))
    store.away = False
    await until(lambda: bool(store.heard) and store.heard[-1] == module.KEPT + 50)
    assert store.heard == list(range(store.heard[0], module.KEPT + 51))
    assert len(store.heard) <= module.KEPT


async def test_what_is_left_is_made_at_the_end() -> None:
    outbox, store = Outbox(), Store()

    async def broken() -> None:
        raise RuntimeError("a bug")

    outbox.put(broken)
    outbox.put(store.report(1))
    await outbox.flush()
    assert store.heard == [1]


async def test_the_end_does_not_wait_for_a_store_that_is_away() -> None:
    outbox, store = Outbox(), Store()
    store.away = True
    for number in range(3):
        outbox.put(store.report(number))
    await outbox.flush()
    assert store.asked == 1


async def test_a_report_whose_task_could_not_be_queued_is_made_again(outbox: Outbox) -> None:
    store = Store()
    store.away, store.error = True, QueueUnavailableError
    outbox.put(store.report(1))
    await until(lambda: store.asked >= 2)
    store.away = False
    await until(lambda: store.heard == [1])
