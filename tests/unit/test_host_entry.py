"""How a daemon begins to be its host, with what its heartbeats are answered only said."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from structlog.testing import capture_logs

from orchestrator.domain.errors import HostIdTakenError, StoreUnavailableError
from orchestrator.host import entry
from orchestrator.host.entry import enter
from orchestrator.records import Heard

HEARD = Heard()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "AGAIN_S", 0.001)


def taken(heartbeat: str) -> HostIdTakenError:
    return HostIdTakenError("h1", heartbeat=heartbeat, lease_left_s=4.2)


def answers(*said: Heard | Exception) -> Callable[[], Awaitable[Heard]]:
    left = list(said)

    async def heartbeat() -> Heard:
        answer = left.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return heartbeat


async def test_it_is_heard_at_once() -> None:
    assert await enter(answers(HEARD), asyncio.Event()) is HEARD


async def test_another_daemon_that_is_alive_is_not_pushed_aside() -> None:
    with pytest.raises(HostIdTakenError, match="give each machine and each container a HOST_ID of its own"):
        await enter(answers(taken("1.0"), taken("1.0"), taken("2.0"), HEARD), asyncio.Event())


async def test_the_lease_of_one_that_is_gone_is_waited_for_and_said_once() -> None:
    with capture_logs() as lines:
        assert await enter(answers(*[taken("1.0")] * 5, HEARD), asyncio.Event()) is HEARD
    [line] = lines
    assert (line["log_level"], line["left_s"]) == ("warning", 4.2)
    assert "HOST_ID" in line["event"]


async def test_a_store_that_is_away_does_not_hold_a_daemon_with_agents_up() -> None:
    assert await enter(answers(StoreUnavailableError()), asyncio.Event()) is None


async def test_one_that_was_refused_waits_through_an_outage() -> None:
    said = answers(taken("1.0"), StoreUnavailableError(), taken("2.0"))
    with pytest.raises(HostIdTakenError):
        await enter(said, asyncio.Event())


async def test_a_signal_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entry, "AGAIN_S", 60)
    stopped = asyncio.Event()
    waiting = asyncio.create_task(enter(answers(taken("1.0")), stopped))
    await asyncio.sleep(0)
    stopped.set()
    assert await asyncio.wait_for(waiting, 10) is None
