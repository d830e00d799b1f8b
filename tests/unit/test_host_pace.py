"""How fast an agent is listened to."""

from __future__ import annotations

import pytest

from orchestrator.host.pace import AT_ONCE, MESSAGES_PER_S, Pace


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_many_at_once_are_heard_at_once_and_more_wait_longer_and_longer() -> None:
    pace = Pace(Clock())
    assert {pace.wait_s() for _ in range(AT_ONCE)} == {0.0}
    waits = [pace.wait_s() for _ in range(3)]
    assert waits == pytest.approx([each / MESSAGES_PER_S for each in (1, 2, 3)])


def test_who_said_little_for_a_while_may_say_much_again_and_no_more_than_before() -> None:
    clock = Clock()
    pace = Pace(clock)
    for _ in range(AT_ONCE):
        pace.wait_s()
    clock.now += 1.0
    assert {pace.wait_s() for _ in range(MESSAGES_PER_S)} == {0.0}
    assert pace.wait_s() > 0
    clock.now += 10_000
    assert {pace.wait_s() for _ in range(AT_ONCE)} == {0.0}
    assert pace.wait_s() > 0
