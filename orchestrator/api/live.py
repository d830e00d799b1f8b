"""What the console is told as it happens: one look a second at everything, however many consoles there are."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import metadata
from typing import Any

import structlog

from orchestrator.api.background import ended
from orchestrator.api.schemas_console import OverviewEvent, OverviewHealth, SessionsEvent
from orchestrator.api.streams import event
from orchestrator.api.views import (
    capacity_view,
    host_view,
    parts_view,
    pool_view,
    queued_view,
    sample_view,
    sessions_view,
    totals_view,
)
from orchestrator.bootstrap import Container
from orchestrator.ports import Listener
from orchestrator.records import Sample
from orchestrator.services.overview import View

log = structlog.get_logger("greenroom.api")

LOOK_EVERY_S = 1.0
TELL_EVERY_S = 2.0
"""An overview that has not changed is told again after so long: the console sees that it is not stale."""
IDS_TOLD = 200
VERSION = metadata.version("greenroom")
PASSING: dict[str, Any] = {
    "at": True,
    "pool": {"demand": True, "reason": True, "agents": {"__all__": {"reason"}}},
    "hosts": {"__all__": {"heartbeat_age_s"}},
    "queue": {"__all__": {"waiting_s"}},
}
"""What changes as time passes, and is no change by itself."""


class Watcher:
    """One console. Where it is slow, it is told the newest of each kind."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._newest: dict[str, str] = {}
        self._ids: dict[str, None] = {}
        self._more = False

    def tell(self, name: str, data: str) -> None:
        """The newest of its kind."""
        self._newest[name] = data
        self._woken.set()

    def tell_changes(self, ids: list[str], more: bool) -> None:
        """These sessions changed."""
        self._ids |= dict.fromkeys(ids)
        self._more = self._more or more or len(self._ids) > IDS_TOLD
        self._ids = dict.fromkeys(list(self._ids)[:IDS_TOLD])
        self._woken.set()

    async def events(self, timeout_s: float) -> bytes:
        """All that there is to tell, as server-sent events; nothing when there is nothing within ``timeout_s``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        self._woken.clear()
        chunks = [event(name, data) for name, data in self._newest.items()]
        if self._ids or self._more:
            chunks.append(event("sessions", _text(SessionsEvent(ids=list(self._ids), more=self._more))))
        self._newest, self._ids, self._more = {}, {}, False
        return b"".join(chunks)


class Live:
    """Looks at everything while somebody watches, and tells all who do."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._watchers: set[Watcher] = set()
        self._task: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._overview: str | None = None
        self._known: dict[str, Any] = {}
        self._told_at = float("-inf")
        self._sample: Sample | None = None

    @contextmanager
    def watch(self) -> Iterator[Watcher]:
        """Be told at once how everything is, and then of what changes."""
        watcher = Watcher()
        self._watchers.add(watcher)
        if self._task is None:
            self._overview, self._sample, self._told_at = None, None, float("-inf")
            self._task = asyncio.get_running_loop().create_task(self._look_on())
        elif self._overview is not None:
            watcher.tell("overview", self._overview)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)
            if not self._watchers:
                self._end()

    async def aclose(self) -> None:
        """End the looking."""
        self._end()
        for task in list(self._ending):
            await ended(task)

    def _end(self) -> None:
        task, self._task = self._task, None
        if task is not None and not task.done():
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()

    async def _look_on(self) -> None:
        loop = asyncio.get_running_loop()
        with self._container.changes.listen() as changes:
            while asyncio.current_task() is self._task:
                began = loop.time()
                try:
                    await self._look(changes)
                except Exception:
                    log.exception("the console was told nothing")
                await asyncio.sleep(max(0.0, began + LOOK_EVERY_S - loop.time()))

    async def _look(self, changes: Listener) -> None:
        view = await self._container.overview.look()
        self._tell_overview(view)
        self._tell_sample(view.sample)
        ids, more = changes.heard()
        if ids or more:
            for watcher in self._watchers:
                watcher.tell_changes(ids, more)

    def _tell_overview(self, view: View) -> None:
        overview = _overview(view, self._container)
        known, now = overview.model_dump(exclude=PASSING), time.monotonic()
        # Half a look early: the next one would be too late.
        due = now - self._told_at > TELL_EVERY_S - LOOK_EVERY_S / 2
        if known == self._known and not due and self._overview is not None:
            return
        self._overview, self._known, self._told_at = _text(overview), known, now
        for watcher in self._watchers:
            watcher.tell("overview", self._overview)

    def _tell_sample(self, sample: Sample | None) -> None:
        """Whichever process took it. The first one seen is not told: it may be in the history that was asked for."""
        if sample is None or sample == self._sample:
            return
        is_new, self._sample = self._sample is not None, sample
        if is_new:
            for watcher in self._watchers:
                watcher.tell("sample", _text(sample_view(sample)))


def _overview(view: View, container: Container) -> OverviewEvent:
    report, counts = view.report, view.report.counts
    most = container.settings.max_bots
    return OverviewEvent(
        at=time.time() if counts is None else counts.now,
        health=OverviewHealth(status=report.status, reason=report.reason, parts=parts_view(report.parts)),
        pool=counts and pool_view(counts, container.limits, container.demand),
        sessions=counts and sessions_view(counts),
        capacity=counts and capacity_view(counts, most),
        stats=counts and totals_view(counts),
        hosts=None if report.hosts is None else [host_view(host) for host in report.hosts],
        queue=None if counts is None or view.queue is None else [queued_view(user, counts.now) for user in view.queue],
        version=VERSION,
    )


def _text(model: OverviewEvent | SessionsEvent | Any) -> str:
    return str(model.model_dump_json(by_alias=True))
