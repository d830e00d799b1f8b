"""What an API process does beside its requests: samples, and hearing that it is told to stop."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping, Sequence
from types import FrameType

import pytest

from orchestrator.api import sampler as module
from orchestrator.api.background import ended
from orchestrator.api.sampler import MOST_STARTS, Sampler, StartLog
from orchestrator.api.stopping import on_stop
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.records import NO_MORE, Sample


class FakeStatistics:
    """``ports.Statistics`` that remembers."""

    def __init__(self) -> None:
        self.noted: list[tuple[int, int, list[float]]] = []
        self.sampled: list[int] = []
        self.error: Exception | None = None

    async def note_starts(self, warm: int, cold: int, took_ms: Sequence[float]) -> None:
        self._check()
        self.noted.append((warm, cold, list(took_ms)))

    async def sample(self, default_target: int, more: Mapping[str, int] = NO_MORE) -> bool:
        self._check()
        self.sampled.append(default_target)
        return True

    async def samples(self, newest: int) -> list[Sample]:
        return []

    def _check(self) -> None:
        if self.error is not None:
            raise self.error


async def test_starts_are_written_down_all_at_once() -> None:
    statistics, starts = FakeStatistics(), StartLog()
    sampler = Sampler(statistics, starts, default_target=3)
    starts.note("warm", 0.004)
    starts.note("cold", 0.02)
    starts.note("warm", 0.005)
    await sampler.turn()
    await sampler.turn()
    assert statistics.noted == [(2, 1, [4.0, 20.0, 5.0])]
    assert statistics.sampled == [3, 3]


def test_what_waits_is_bounded() -> None:
    starts = StartLog()
    for number in range(MOST_STARTS + 5):
        starts.note("warm", number / 1000)
    warm, cold, took_ms = starts.take()
    assert (warm, cold, len(took_ms), took_ms[-1]) == (MOST_STARTS + 5, 0, MOST_STARTS, MOST_STARTS + 4)
    assert starts.take() == (0, 0, [])


@pytest.mark.parametrize("error", [StoreUnavailableError(), RuntimeError("a mistake of ours")])
async def test_nothing_stops_the_loop(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    monkeypatch.setattr(module, "EVERY_S", 0.001)
    statistics, starts = FakeStatistics(), StartLog()
    task = asyncio.create_task(Sampler(statistics, starts, default_target=3).run())
    statistics.error = error
    starts.note("warm", 0.004)
    await asyncio.sleep(0.02)
    assert (statistics.sampled, task.done()) == ([], False)
    statistics.error = None
    async with asyncio.timeout(10):
        while not statistics.sampled:
            await asyncio.sleep(0.001)
    starts.note("cold", 0.02)
    await ended(task)
    assert statistics.noted[-1] == (0, 1, [20.0]), "what is left is written down at the end"


async def test_a_process_that_is_told_to_stop_says_so_before_its_server_waits() -> None:
    handled: list[int] = []

    def servers_own(number: int, _frame: FrameType | None) -> None:
        handled.append(number)

    stopped = asyncio.Event()
    before = {number: signal.signal(number, servers_own) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in before:
            stopped.clear()
            with on_stop(stopped.set):
                signal.raise_signal(number)
                async with asyncio.timeout(10):
                    await stopped.wait()
            assert handled[-1] == number
            assert signal.getsignal(number) is servers_own
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


async def test_a_signal_that_nobody_handles_is_left_alone() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        with on_stop(lambda: None):
            assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_signals_are_the_main_threads() -> None:
    async def elsewhere() -> bool:
        with on_stop(lambda: None):
            return True

    assert await asyncio.to_thread(lambda: asyncio.run(elsewhere()))


async def test_starts_outlast_a_store_that_is_away() -> None:
    statistics, starts = FakeStatistics(), StartLog()
    sampler = Sampler(statistics, starts, default_target=3)
    starts.note("warm", 0.004)
    statistics.error = StoreUnavailableError()
    await sampler.turn()
    starts.note("cold", 0.02)
    await sampler.turn()
    statistics.error = None
    await sampler.turn()
    assert statistics.noted == [(1, 1, [4.0, 20.0])]


def test_what_is_put_back_is_bounded() -> None:
    starts = StartLog()
    starts.note("cold", 9.0)
    starts.put_back(MOST_STARTS, 0, [1.0] * MOST_STARTS)
    warm, cold, took_ms = starts.take()
    assert (warm, cold, len(took_ms), took_ms[-1]) == (MOST_STARTS, 1, MOST_STARTS, 9000.0)
