"""Users who come while as many are there as may be."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from benchmarks.chaos import traffic
from benchmarks.chaos.traffic import Traffic


class Call:
    """Goes on until it is let go."""

    begun: list[Call]

    def __init__(self, _http: Any, visit: Any, _rhythm: Any) -> None:
        self.visit, self.over = visit, asyncio.Event()

    async def run(self) -> None:
        self.begun.append(self)
        await self.over.wait()
        self.visit.outcome = "served"


@pytest.fixture
def begun(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    monkeypatch.setattr(traffic, "Visitor", Call)
    monkeypatch.setattr(Call, "begun", [], raising=False)
    return Call.begun


async def until_came(users: Traffic, count: int) -> None:
    while len(users.visits) + users.not_let_in < count:
        await asyncio.sleep(0)


async def test_one_too_many_goes_away(begun: list[Call]) -> None:
    users = Traffic("http://127.0.0.1", 1, 0.0, most_at_once=2)

    async with users.flowing():
        await until_came(users, 4)
        for call in begun:
            call.over.set()

    assert users.not_let_in >= 2
    assert not users.outside_s


async def test_one_too_many_who_is_patient_comes_in_when_somebody_left(begun: list[Call]) -> None:
    users = Traffic("http://127.0.0.1", 1, 0.01, most_at_once=2, patient=True)

    async with users.flowing():
        await until_came(users, 4)
        assert [call.visit.number for call in begun] == [0, 1]
        begun[1].over.set()
        while len(begun) < 3:
            await asyncio.sleep(0)
        assert [call.visit.number for call in begun] == [0, 1, 2]
        assert list(users.outside_s) == [2]
        served = asyncio.create_task(_let_all_go(users, begun))
    await served

    assert users.not_let_in == 0
    assert {visit.outcome for visit in users.visits} == {"served"}
    assert [call.visit.number for call in begun] == sorted(call.visit.number for call in begun)


async def _let_all_go(users: Traffic, begun: list[Call]) -> None:
    while any(visit.outcome is None for visit in users.visits):
        for call in begun:
            call.over.set()
        await asyncio.sleep(0)
