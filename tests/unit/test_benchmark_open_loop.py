"""The benchmark's users come when they are due, and what they waited is counted from then."""

from __future__ import annotations

import asyncio
import random

import pytest

from benchmarks.open_loop import arrivals_s, open_loop


class VirtualTime(asyncio.SelectorEventLoop):
    """A loop on which waiting takes no time: its clock jumps to what is due next."""

    now = 0.0

    def time(self) -> float:
        return self.now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:
            self.now = max(self.now, self._scheduled[0].when())
        super()._run_once()


def run(due_s, call):
    with asyncio.Runner(loop_factory=VirtualTime) as runner:
        return runner.run(open_loop(due_s, call))


def test_nobody_waits_for_the_answer_of_another() -> None:
    sent_at = []

    async def slow(_: int) -> None:
        sent_at.append(asyncio.get_running_loop().time())
        await asyncio.sleep(10)

    found = run([0.0, 0.5, 1.0], slow)
    assert sent_at == pytest.approx([0.0, 0.5, 1.0])
    assert found.ms == pytest.approx([10_000] * 3)


def test_one_that_was_sent_late_has_waited_since_it_was_due() -> None:
    async def blocks_everything(number: int) -> None:
        if number == 0:
            asyncio.get_running_loop().now += 3  # type: ignore[attr-defined]

    found = run([0.0, 1.0, 2.0, 4.0], blocks_everything)
    assert found.ms == pytest.approx([3000, 2000, 1000, 0])


def test_a_call_that_failed_is_counted_and_has_waited() -> None:
    async def refused(number: int) -> None:
        await asyncio.sleep(1)
        if number == 1:
            raise RuntimeError("503")

    found = run([0.0, 0.1, 0.2], refused)
    assert found.failed == 1
    assert found.ms == pytest.approx([1000] * 3)


def test_arrivals_are_as_many_as_the_rate_says_and_no_two_streams_alike() -> None:
    times_s = arrivals_s(200, 100, random.Random(1))
    assert times_s == sorted(times_s)
    assert times_s[0] > 0
    assert times_s[-1] < 100
    assert len(times_s) == pytest.approx(20_000, rel=0.05)
    assert times_s == arrivals_s(200, 100, random.Random(1))
    assert times_s != arrivals_s(200, 100, random.Random(2))
