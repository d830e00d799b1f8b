"""What the daemon leaves alone until the store has heard it: it may be another daemon's."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.domain.errors import HostIdTakenError
from orchestrator.host import daemon as module
from orchestrator.host.commands import Commands
from orchestrator.host.daemon import HostDaemon
from orchestrator.host.reconciliation import Reconciliation


class Daemon(SimpleNamespace):
    """As much of one, and of the store, as its loops use; it notes what is asked of it."""

    def __init__(self) -> None:
        super().__init__(
            _entered=asyncio.Event(),
            _stop=asyncio.Event(),
            _superseded=None,
            _agents=SimpleNamespace(retiring=False, share_processors=lambda: None, all=list),
            _hosts=self,
            asked=[],
        )

    async def position(self, _: float) -> str:
        return "0-0"

    async def commands(self, *_: object) -> list[Any]:
        return await self._ask("commands")

    async def owned_by(self, _: str) -> list[Any]:
        return await self._ask("missing")

    async def _ask(self, what: str) -> list[Any]:
        self.asked.append(what)
        await asyncio.sleep(0)
        return []


def listening(daemon: Daemon) -> Awaitable[None]:
    of_it: Any = daemon
    return Commands("h1", of_it, of_it._agents, of_it, of_it, of_it, beat=of_it._ask, secrets=list).listen(
        daemon._entered
    )


def reconciling(daemon: Daemon) -> Awaitable[None]:
    of_it: Any = daemon
    return Reconciliation("h1", of_it._agents, of_it, of_it, every_s=0.0, assign_lease_s=30.0).run(daemon._entered)


@pytest.mark.parametrize(
    ("loop", "asked"), [(listening, "commands"), (reconciling, "missing")], ids=["listen", "reconcile"]
)
async def test_it_waits_until_it_was_heard(loop: Callable[[Daemon], Awaitable[None]], asked: str) -> None:
    daemon = Daemon()
    running = asyncio.ensure_future(loop(daemon))
    for _ in range(20):
        await asyncio.sleep(0)
    assert daemon.asked == []
    daemon._entered.set()
    async with asyncio.timeout(10):
        while not daemon.asked:
            await asyncio.sleep(0)
    assert daemon.asked[0] == asked
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


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
