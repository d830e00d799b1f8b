"""Connections without a whole request: which are late, which one is too many, and how it is told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchestrator.api.metrics import Metrics
from orchestrator.api.unfinished import MOST_UNFINISHED, TELL_EVERY_S, Doorkeeper, Limits, Unfinished


def unfinished(most: int = 10, client_s: float = 10.0) -> Unfinished[str]:
    return Unfinished(Limits(most, client_s))


@pytest.mark.parametrize(("open_files", "most"), [(1024, 128), (4096, 512), (20_000, MOST_UNFINISHED), (4, 1)])
def test_an_eighth_of_the_files_may_be_theirs(open_files: int, most: int) -> None:
    assert Limits.within(open_files).most == most


def test_one_is_late_that_many_seconds_after_it_began() -> None:
    table = unfinished()
    table.waits("a", 100.0)
    table.waits("b", 103.0)
    table.waits("a", 109.0)  # another byte of the same request
    assert table.next_at() == 110.0
    assert table.late(109.9) == []
    assert table.late(110.0) == ["a"]
    assert table.next_at() == 113.0
    assert table.late(200.0) == ["b"]
    assert table.next_at() is None


def test_its_time_begins_anew_with_its_next_request() -> None:
    table = unfinished()
    table.waits("a", 100.0)
    table.leaves("a")
    assert table.next_at() is None
    table.idles("a", 101.0)
    assert table.late(500.0) == [], "an idle one is uvicorn's"
    table.waits("a", 500.0)
    assert len(table) == 1
    table.idles("a", 500.5)  # was refused before it had sent all
    assert table.late(600.0) == []
    table.waits("a", 501.0)
    assert table.late(510.9) == []
    assert table.late(511.0) == ["a"]


def test_the_one_that_is_without_a_request_for_longest_is_one_too_many() -> None:
    table = unfinished(most=3)
    table.idles("idle", 101.0)
    table.waits("first", 100.0)
    table.waits("second", 102.0)
    assert table.one_too_many() is None
    table.waits("third", 103.0)
    assert table.one_too_many() == "first"
    assert table.one_too_many() is None
    table.waits("fourth", 104.0)
    assert table.one_too_many() == "idle"
    table.leaves("second")
    table.idles("fifth", 105.0)
    assert table.one_too_many() is None


def test_a_late_one_counts_until_it_is_gone() -> None:
    """It may not read what it was sent."""
    table = unfinished(most=1)
    table.waits("a", 100.0)
    assert table.late(110.0) == ["a"]
    assert len(table) == 1
    table.waits("b", 111.0)
    assert table.one_too_many() == "a"
    table.leaves("b")
    assert len(table) == 0


class FakeLoop:
    """Time, and the timers that were set."""

    def __init__(self) -> None:
        self.now = 100.0
        self.timers: list[tuple[float, Callable[..., None], tuple[Any, ...]]] = []

    def time(self) -> float:
        return self.now

    def call_at(self, at: float, callback: Callable[..., None], *args: Any) -> object:
        self.timers.append((at, callback, args))
        return object()

    def call_later(self, delay_s: float, callback: Callable[..., None], *args: Any) -> object:
        return self.call_at(self.now + delay_s, callback, *args)

    def run_to(self, now: float) -> None:
        self.now = now
        due = [timer for timer in self.timers if timer[0] <= now]
        self.timers = [timer for timer in self.timers if timer[0] > now]
        for _, callback, args in due:
            callback(*args)


class FakeConnection:
    def __init__(self, loop: FakeLoop) -> None:
        self.loop = loop
        self.is_ours = False
        self.idle = False
        self.end = ""
        self.reads_until = 0.0

    def is_our_turn(self) -> bool:
        return self.is_ours

    def is_left_to_uvicorn(self) -> bool:
        return self.idle

    def was_read_from(self) -> bool:
        return self.loop.now < self.reads_until

    def end_late(self) -> None:
        self.end = "late"

    def drop(self) -> None:
        self.end = "dropped"


class World:
    def __init__(self, most: int = 2) -> None:
        self.loop = FakeLoop()
        self.metrics = Metrics()
        self.keeper: Any = Doorkeeper(Limits(most, 10.0), self.metrics.closed)

    def opened(self) -> FakeConnection:
        connection = FakeConnection(self.loop)
        self.keeper.look(connection)
        return connection

    def counted(self, why: str) -> str:
        start = f'greenroom_connections_closed_total{{reason="{why}"}}'
        [line] = [line for line in self.metrics.text().decode().splitlines() if line.startswith(start)]
        return line.split()[-1]


def test_one_timer_serves_all_and_requests_that_come_in_time_set_none() -> None:
    world = World(most=100)
    connections = [world.opened() for _ in range(5)]
    for connection in connections:
        connection.is_ours = True
        world.keeper.look(connection)
        connection.is_ours, connection.idle = False, True
        world.keeper.look(connection)
    assert len(world.loop.timers) == 1
    world.loop.run_to(110.0)
    assert world.loop.timers == [], "nobody is waited for"
    assert {connection.end for connection in connections} == {""}


def test_each_is_ended_at_its_own_time() -> None:
    world = World()
    first = world.opened()
    world.loop.run_to(104.0)
    second = world.opened()
    world.loop.run_to(110.0)
    assert (first.end, second.end) == ("late", "")
    world.loop.run_to(114.0)
    assert second.end == "late"
    assert (world.counted("late"), world.counted("crowded")) == ("2.0", "0.0")


def test_one_that_goes_on_reading_has_more_time() -> None:
    world = World()
    reading = world.opened()
    reading.reads_until = 125.0
    for now in (110.0, 120.0, 129.0):
        world.loop.run_to(now)
        assert reading.end == ""
    world.loop.run_to(130.0)
    assert reading.end == "late"


def test_a_flood_is_told_of_once_in_a_while_and_whole() -> None:
    world = World(most=2)
    with capture_logs() as lines:
        flood = [world.opened() for _ in range(50)]
        assert [connection.end for connection in flood] == ["dropped"] * 48 + [""] * 2
        assert [line["closed"] for line in lines] == [1]
        for end in flood[48:]:
            world.keeper.lost(end)
        world.loop.run_to(world.loop.now + TELL_EVERY_S)
        assert [line["closed"] for line in lines] == [1, 47], "what came after the first is told, though no more came"
        world.loop.run_to(world.loop.now + TELL_EVERY_S)
        world.loop.run_to(world.loop.now + TELL_EVERY_S)
        assert len(lines) == 2
        for _ in range(3):
            world.opened()
    assert [(line["log_level"], line["closed"], line["most"]) for line in lines[2:]] == [("warning", 1, 2)]
    assert world.counted("crowded") == "49.0"


def test_a_lost_one_is_forgotten() -> None:
    world = World(most=1)
    world.keeper.lost(world.opened())
    second = world.opened()
    assert second.end == ""
