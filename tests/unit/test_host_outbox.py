"""What the host has to tell the store: in order, through an outage, bounded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine

import pytest

from orchestrator.domain.errors import GreenroomError, QueueUnavailableError, StoreUnavailableError
from orchestrator.host import outbox as module
from orchestrator.host.outbox import Outbox
from tests.support.records import warm_id

A, B, C = warm_id(1), warm_id(2), warm_id(3)


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
        outbox.put(A, store.report(number))
    await until(lambda: len(store.heard) == 100)
    outbox.put(A, store.report(100))
    await until(lambda: len(store.heard) == 101)
    assert store.heard == list(range(101))


async def test_an_outage_keeps_the_order(outbox: Outbox) -> None:
    store = Store()
    store.away = True
    for number in range(10):
        outbox.put(A, store.report(number))
    await until(lambda: store.asked > 5)
    assert store.heard == []
    outbox.put(A, store.report(10))
    store.away = False
    await until(lambda: len(store.heard) == 11)
    assert store.heard == list(range(11))


async def test_a_report_that_fails_does_not_hold_up_the_others(
    outbox: Outbox, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store()

    async def broken() -> None:
        raise RuntimeError("a bug")

    outbox.put(A, broken)
    outbox.put(A, store.report(1))
    await until(lambda: store.heard == [1])
    assert "a report failed" in capsys.readouterr().out


async def test_a_long_outage_is_bounded_and_keeps_the_newest(outbox: Outbox) -> None:
    store = Store()
    store.away = True
    for number in range(module.KEPT + 50):
        outbox.put(A, store.report(number))
    await until(lambda: store.asked > 2)
    outbox.put(A, store.report(module.KEPT + 50))
    store.away = False
    await until(lambda: bool(store.heard) and store.heard[-1] == module.KEPT + 50)
    assert store.heard == list(range(store.heard[0], module.KEPT + 51))
    assert len(store.heard) <= module.KEPT


async def test_what_is_left_is_made_at_the_end() -> None:
    outbox, store = Outbox(), Store()

    async def broken() -> None:
        raise RuntimeError("a bug")

    outbox.put(A, broken)
    outbox.put(A, store.report(1))
    await outbox.flush()
    assert store.heard == [1]


async def test_the_end_does_not_wait_for_a_store_that_is_away() -> None:
    outbox, store = Outbox(), Store()
    store.away = True
    for number in range(3):
        outbox.put(A, store.report(number))
    await outbox.flush()
    assert store.asked == 1


async def test_a_report_whose_task_could_not_be_queued_is_made_again(outbox: Outbox) -> None:
    store = Store()
    store.away, store.error = True, QueueUnavailableError
    outbox.put(A, store.report(1))
    await until(lambda: store.asked >= 2)
    store.away = False
    await until(lambda: store.heard == [1])


async def test_one_who_says_much_holds_nobody_up(outbox: Outbox) -> None:
    """Each session's next report is made before any session's one after it."""
    store = Store()
    for number in range(400):
        outbox.put(A, store.report(number))
    outbox.put(B, store.report(1000))
    outbox.put(B, store.report(1001))
    outbox.put(C, store.report(2000))
    await until(lambda: len(store.heard) == 403)
    assert sorted(store.heard[:3]) == [0, 1000, 2000]
    assert sorted(store.heard[3:5]) == [1, 1001]
    assert [number for number in store.heard if number < 1000] == list(range(400))


async def test_one_who_says_much_pushes_out_nobody_elses(outbox: Outbox) -> None:
    store = Store()
    store.away = True
    outbox.put(B, store.report(-1))
    for number in range(3 * module.KEPT):
        outbox.put(A, store.report(number))
    store.away = False
    await until(lambda: len(store.heard) == module.KEPT + 1)
    assert -1 in store.heard


@pytest.mark.parametrize("before", [0, 10, module.KEPT])
async def test_a_death_is_kept_in_its_place_however_much_is_said(outbox: Outbox, before: int) -> None:
    store = Store()
    store.away = True
    for number in range(before):
        outbox.put(A, store.report(number))
    outbox.put(A, store.report(-1), must_keep=True)
    for number in range(before, before + 2 * module.KEPT):
        outbox.put(A, store.report(number))
    await until(lambda: store.asked > 2)
    store.away = False
    await until(lambda: bool(store.heard) and store.heard[-1] == before + 2 * module.KEPT - 1)
    newest = range(before + 2 * module.KEPT)[-(module.KEPT - 1) :]
    assert store.heard == [-1, *newest]


async def test_more_that_must_be_kept_than_places(outbox: Outbox) -> None:
    store = Store()
    store.away = True
    for number in range(module.KEPT + 10):
        outbox.put(A, store.report(number), must_keep=True)
    store.away = False
    await until(lambda: len(store.heard) == module.KEPT + 10)


async def test_the_end_makes_the_reports_of_all() -> None:
    outbox, store = Outbox(), Store()
    for number in range(10):
        outbox.put((A, B, C)[number % 3], store.report(number))
    await outbox.flush()
    assert sorted(store.heard) == list(range(10))
