"""The tasks are thin shells: what they do when the store is away."""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.settings import current_settings


@pytest.fixture
def tasks(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module reads its settings when it is imported."""
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "s" * 32)
    current_settings.cache_clear()
    from orchestrator import tasks

    yield tasks
    current_settings.cache_clear()


class Flaky:
    """Stands for the process's loop: fails some times, then says that an agent came."""

    def __init__(self, failures: int) -> None:
        self.failures = failures
        self.calls = 0

    def run(self, _use: Any) -> bool:
        self.calls += 1
        if self.calls <= self.failures:
            raise StoreUnavailableError
        return True


def test_a_spawn_that_could_not_begin_is_tried_again(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = Flaky(failures=3)
    monkeypatch.setattr(tasks, "_process", flaky)
    assert tasks.spawn_agent.apply(args=["cold_1"]).get() is True
    assert flaky.calls == 4


def test_a_spawn_that_cannot_begin_is_left_to_its_deadline(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    flaky = Flaky(failures=1000)
    monkeypatch.setattr(tasks, "_process", flaky)
    assert tasks.spawn_agent.apply(args=["cold_1"]).get() is False
    assert flaky.calls == tasks.AWAY_RETRIES + 1


def test_maintenance_is_put_off(tasks: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "_process", Flaky(failures=1))
    assert tasks.refill_pool.apply().get() == 0
