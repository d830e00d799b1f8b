"""Whether every part that a start needs is up: the store, LiveKit, a host, the clock that keeps the pool full."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from contract.keys import DEFAULT_KIND
from orchestrator.domain.breaker import Phase
from orchestrator.domain.errors import GreenroomError
from orchestrator.ports import Breakers, HostRegistry, Rooms, SessionStore
from orchestrator.records import NO_MORE, BreakerView, Counts, HostView, whole_in

T = TypeVar("T")

REFILL_LATE_S = 95.0
"""Beat refills every 30 s: three missed ones and a little mean that it stopped."""
LIVEKIT_FRESH_S = 2.0
"""One look at LiveKit serves every question within so long, however many ask."""
PART_TIMEOUT_S = 2.2
LONGEST = 600
"""Characters of a detail that many hosts are named in."""
ZYGOTE_STATES = ("failed", "starting", "ready")
"""The worst first."""


@dataclass(frozen=True)
class Part:
    """One part, and in words what is wrong with it."""

    ok: bool
    detail: str
    """For operators: it names machines, and says what was said elsewhere, by the agent's module as well."""
    public: str | None = None
    """For anybody, in words of ours; None where ``detail`` is such."""

    @property
    def for_anybody(self) -> Part:
        """The same, with nothing in it that is for operators alone."""
        return self if self.public is None else Part(self.ok, self.public)


@dataclass(frozen=True)
class Report:
    """All parts at one moment. ``counts`` and ``hosts`` are None while the store is away."""

    vital: Mapping[str, Part]
    """Without one of these no start can be served."""
    spawns: Part
    """Whether spawns are tried. Without them, who waits is handed out all the same."""
    counts: Counts | None
    hosts: Sequence[HostView] | None

    @property
    def parts(self) -> Mapping[str, Part]:
        """All of them."""
        return {**self.vital, "spawns": self.spawns}

    @property
    def for_anybody(self) -> Report:
        """The same, with nothing in it that is for operators alone."""
        vital = {name: part.for_anybody for name, part in self.vital.items()}
        return replace(self, vital=vital, spawns=self.spawns.for_anybody)

    @property
    def ready(self) -> bool:
        """Whether starts can be served."""
        return all(part.ok for part in self.vital.values())

    @property
    def status(self) -> Literal["healthy", "degraded", "unhealthy"]:
        """``degraded``: starts are served as long as agents wait, and no new ones are started."""
        if not self.ready:
            return "unhealthy"
        return "healthy" if self.spawns.ok else "degraded"

    @property
    def reason(self) -> str | None:
        """What is wrong, in words; None when nothing is."""
        return in_words(self.parts)


def in_words(parts: Mapping[str, Part]) -> str | None:
    """What is wrong with these; None when nothing is."""
    return "; ".join(f"{name}: {part.detail}" for name, part in parts.items() if not part.ok) or None


class Health:
    """The use case behind health and readiness."""

    def __init__(
        self,
        store: SessionStore,
        registry: HostRegistry,
        rooms: Rooms,
        breakers: Breakers,
        *,
        default_target: int,
        more: Mapping[str, int] = NO_MORE,
        clock: Callable[[], float],
    ) -> None:
        self._store = store
        self._registry = registry
        self._breakers = breakers
        self._default_target = default_target
        self._more = more
        self._livekit = _Remembered(lambda: _livekit(rooms), clock)

    async def report(self) -> Report:
        """Look at every part; answers within ``PART_TIMEOUT_S`` whatever is down."""
        counts, hosts, breakers, livekit = await asyncio.gather(
            _within(self._store.counts(self._default_target, self._more)),
            _within(self._registry.hosts()),
            _within(self._look_at_breakers()),
            self._livekit.get(),
        )
        if counts is None or hosts is None or breakers is None:
            unknown = Part(False, "unknown while Redis is away")
            away = Part(False, "does not answer")
            parts = {"redis": away, "livekit": livekit, "hosts": unknown, "beat": unknown}
            return Report(parts, unknown, None, None)
        answers = Part(True, "answers")
        parts = {"redis": answers, "livekit": livekit, "hosts": _able(hosts), "beat": _beat(counts)}
        return Report(parts, _spawns(breakers, hosts), counts, hosts)

    async def _look_at_breakers(self) -> dict[str, BreakerView]:
        kinds = (DEFAULT_KIND, *self._more)
        return dict(zip(kinds, await asyncio.gather(*map(self._breakers.look, kinds)), strict=True))

    async def aclose(self) -> None:
        """End a look that is under way."""
        await self._livekit.aclose()


class _Remembered:
    """An answer that is kept for a while; many who ask at once cause one look."""

    def __init__(self, look: Callable[[], Awaitable[Part]], clock: Callable[[], float]) -> None:
        self._look = look
        self._clock = clock
        self._task: asyncio.Task[Part] | None = None
        self._begun_at = float("-inf")

    async def get(self) -> Part:
        stale = self._clock() - self._begun_at > LIVEKIT_FRESH_S
        if self._task is None or (self._task.done() and stale):
            self._begun_at = self._clock()
            self._task = asyncio.ensure_future(self._look())
        return await asyncio.shield(self._task)  # one who goes away does not take the others' answer along

    async def aclose(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None


async def _within(call: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(PART_TIMEOUT_S):
            return await call
    except (GreenroomError, TimeoutError):
        return None


async def _livekit(rooms: Rooms) -> Part:
    try:
        async with asyncio.timeout(PART_TIMEOUT_S):
            await rooms.ping()
    except GreenroomError as error:
        return Part(False, error.detail, "does not answer, or refuses requests")
    except TimeoutError:
        return Part(False, "LiveKit does not answer; check LIVEKIT_URL and the server")
    return Part(True, "answers")


def _able(hosts: Sequence[HostView]) -> Part:
    alive = [host for host in hosts if host.alive and not host.draining]
    draining = ", ".join(host.host for host in hosts if host.alive and host.draining)
    if not alive:
        if not draining:
            return Part(False, "no host is alive")
        words = "every host that is alive drains"
        return Part(False, f"{words} ({draining})"[:LONGEST], words)
    if not any(_has_agents(host) for host in alive):
        words = "no host can start agents yet"
        states = _zygotes({host.host: host.fields.get("zygote", "unknown") for host in alive})
        return Part(False, f"{words} ({states.detail})"[:LONGEST], f"{words} ({states.public})")
    words = f"{len(alive)} alive"
    return Part(True, f"{words}, besides what drains ({draining})"[:LONGEST], words) if draining else Part(True, words)


def _zygotes(said: Mapping[str, str]) -> Part:
    """What hosts say of their zygotes. Why one failed is for operators: the agent's module says it."""
    detail = "; ".join(f"{host}: its zygote is {status}" for host, status in said.items())
    public = "; ".join(sorted({f"its zygote is {_state(status)}" for status in said.values()}))
    return Part(False, detail[:LONGEST], public)


def _state(status: str) -> str:
    """``failed: No module …`` or, of several kinds, ``sales starting; support failed: …`` in a word: the worst."""
    said = re.findall(r"\w+", status.partition(":")[0])
    return next((word for word in ZYGOTE_STATES if word in said), "unknown")


def _has_agents(host: HostView) -> bool:
    """Whether it can start an agent of any kind, or has one waiting while a zygote comes back."""
    return bool(host.ready_kinds) or (whole_in(host.fields, "warm") or 0) > 0


def _spawns(breakers: Mapping[str, BreakerView], hosts: Sequence[HostView]) -> Part:
    """All kinds' in one; of several, each that is not well is named."""
    parts = {kind: _spawns_of(view) for kind, view in breakers.items()}
    if len(parts) == 1:
        return parts[DEFAULT_KIND]
    able = [host for host in hosts if host.alive and not host.draining]
    parts |= {kind: _unable(kind, able) for kind in parts if able and not _can_start(kind, able, parts[kind])}
    return Part(
        all(part.ok for part in parts.values()),
        in_words(parts) or "are tried",
        in_words({kind: part.for_anybody for kind, part in parts.items()}),
    )


def _can_start(kind: str, hosts: Sequence[HostView], part: Part) -> bool:
    """Whether one of these can; the breaker's own words come first where it is open."""
    serving = [host for host in hosts if kind in host.kinds]
    return bool(serving) and (not part.ok or any(kind in host.ready_kinds for host in serving))


def _unable(kind: str, hosts: Sequence[HostView]) -> Part:
    said = {host.host: host.zygotes.get(kind, "unknown") for host in hosts if kind in host.kinds}
    return _zygotes(said) if said else Part(False, "no host that is alive serves it")


def _spawns_of(view: BreakerView) -> Part:
    breaker = view.breaker
    if view.phase is Phase.CLOSED:
        return Part(True, "are tried")
    wait_s = breaker.open_until - view.now
    when = f"the next one in {wait_s:.0f} s" if view.phase is Phase.OPEN else "the next one is a try"
    for_s = view.now - breaker.since
    words = f"they have failed for {for_s:.0f} s, and wait ({when})"
    return Part(False, f"{words}: {breaker.reason} ({breaker.code})", f"{words}: {breaker.code}")


def _beat(counts: Counts) -> Part:
    if counts.last_refill_at is None:
        return Part(False, "the pool was not refilled yet")
    age_s = counts.now - counts.last_refill_at
    if age_s > REFILL_LATE_S:
        return Part(False, f"the last refill was {age_s:.0f} s ago; is beat running?")
    return Part(True, "in time")
