"""What the daemon does when its place was taken, when it stops, and when its machine cannot be measured."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

import pytest

from orchestrator.domain.errors import HostIdTakenError
from orchestrator.host import daemon as module
from orchestrator.host.daemon import HostDaemon


class Daemon(SimpleNamespace):
    """As much of one as its loops use; it notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__(
            _stop=asyncio.Event(),
            _superseded=None,
            _agents=SimpleNamespace(retiring=False, share_processors=lambda: None),
            asked=[],
        )


async def test_one_whose_place_was_taken_stops_and_heeds_nothing() -> None:
    daemon, taken = Daemon(), HostIdTakenError("h1", heartbeat="1.0", lease_left_s=4.0)

    async def heartbeat(_: object) -> None:
        raise taken

    daemon._report, daemon._heartbeat = dict, heartbeat
    await HostDaemon._beat(daemon)  # type: ignore[arg-type]
    assert (daemon._superseded, daemon._stop.is_set()) == (taken, True)
    assert daemon._agents.retiring, "it begins nothing more"


async def test_one_that_stops_does_not_take_its_lease_again() -> None:
    """It signed off, and ends its agents for some seconds yet: whoever comes under its name need not wait for it."""
    daemon = Daemon()

    async def heartbeat(_: object) -> None:
        daemon.asked.append("heartbeat")

    daemon._report, daemon._heartbeat = dict, heartbeat
    daemon._stop.set()
    await HostDaemon._beat(daemon)  # type: ignore[arg-type]
    assert daemon.asked == []


async def test_a_machine_that_cannot_be_measured_costs_one_heartbeat() -> None:
    daemon = Daemon()

    def cannot() -> None:
        raise OSError(24, "Too many open files", "/proc/meminfo")

    daemon._report = cannot
    await HostDaemon._beat(daemon)  # type: ignore[arg-type]
    assert not daemon._stop.is_set()


@pytest.mark.parametrize("failing", ["measure", "trim"])
async def test_what_cannot_be_measured_or_trimmed_is_tried_again(failing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "HOUSEKEEPING_S", 0.0)
    daemon, tries = Daemon(), asyncio.Semaphore(0)

    async def measure() -> None:
        tries.release()
        if failing == "measure":
            raise OverflowError

    def trim() -> None:
        raise OSError(24, "Too many open files")

    daemon._measure, daemon._files = measure, SimpleNamespace(trim=trim)
    running = asyncio.ensure_future(HostDaemon._housekeeping(daemon))  # type: ignore[arg-type]
    async with asyncio.timeout(20):
        for _ in range(3):
            await tries.acquire()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
