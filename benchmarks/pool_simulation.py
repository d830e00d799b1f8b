"""A day of a pool in virtual time, steered by the policy that the real one has: ``domain.demand`` and ``domain.pool``.

What is made up is the traffic and how long a spawn takes. Nothing sleeps: a heap of events is the clock.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from contract.keys import DEFAULT_KIND
from orchestrator.domain.demand import Aim, DemandPolicy, Measured, aim, slot_of
from orchestrator.domain.pool import (
    Dispatch,
    KindPolicy,
    KindSnapshot,
    PoolPolicy,
    PoolSnapshot,
    Retire,
    SpawnUnderWay,
    SpawnWarm,
    Waiting,
    plan,
)

DAY_S = 86_400.0
BEAT_S = 30.0
MAX_AGENTS = 200
SPAWNS_AT_ONCE = 8
CALL_MEAN_S = 240.0
WARM_S = 0.005
"""What a start with a waiting agent takes (``python -m benchmarks.start_latency``)."""


@dataclass(frozen=True)
class Burst:
    """More starts for a while: so many a minute besides the day's."""

    at_s: float
    length_s: float
    a_minute: float


@dataclass(frozen=True)
class Traffic:
    """The starts of one day."""

    arrivals_s: list[float]
    bursts: list[Burst]


def starts_a_minute(at_s: float, bursts: list[Burst]) -> float:
    """The day's curve: a quiet night, two by day, a lunch peak of eight more, an evening of three more, and bursts."""

    def hill(hour: float, width_h: float, height: float) -> float:
        return height * math.exp(-(((at_s / 3600 - hour) / width_h) ** 2) / 2)

    daytime = 2 / ((1 + math.exp(8 - at_s / 3600)) * (1 + math.exp(at_s / 3600 - 21)))
    more = sum(b.a_minute for b in bursts if b.at_s <= at_s < b.at_s + b.length_s)
    return 0.2 + daytime + hill(12.5, 0.8, 8) + hill(19, 1.0, 3) + more


def day(seed: int, bursts: int = 12) -> Traffic:
    """Starts at random by that curve (a Poisson process, by thinning)."""
    chance = random.Random(seed)
    some = [Burst(chance.uniform(8, 22) * 3600, chance.uniform(60, 300), chance.uniform(4, 12)) for _ in range(bursts)]
    most = 0.2 + 2 + 8 + 3 + sum(b.a_minute for b in some)
    arrivals, at = [], 0.0
    while True:
        at += chance.expovariate(most / 60)
        if at >= DAY_S:
            return Traffic(arrivals, some)
        if chance.random() * most < starts_a_minute(at, some):
            arrivals.append(at)


@dataclass
class Outcome:
    """What a day came to."""

    waits_s: list[float] = field(default_factory=list)
    warm: int = 0
    pool_agent_s: float = 0.0
    """Agents that waited, or were being started for the pool, times seconds."""
    pool_sizes: list[tuple[float, int, int]] = field(default_factory=list)
    """Moment, target, ready: at each change of the target."""


class Simulation:
    """One day. ``spawn_s`` draws how long a spawn takes."""

    def __init__(self, traffic: Traffic, floor: int, policy: DemandPolicy, spawn_s: Callable[[], float], seed: int):
        self._floor, self._policy, self._spawn_s = floor, policy, spawn_s
        self._chance = random.Random(seed)
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._numbers = 0
        self.now = 0.0
        self._ready = self._owned = 0
        self._spawning: dict[str, tuple[bool, float]] = {}
        """Under way: for the pool or not, and when its caller came."""
        self._queued: deque[str] = deque()
        """Spawns that no worker has taken: those of callers are put first."""
        self._working = 0
        self._waiting: dict[str, float] = {}
        self._arrivals: dict[int, int] = {}
        self._peaks: dict[int, float] = {}
        self._spawns: deque[float] = deque(maxlen=100)
        self._refill_pending = False
        self._target = -1
        self.outcome = Outcome()
        for at in traffic.arrivals_s:
            self._at(at, self._arrive)
        self._at(0.0, self._beat)

    def run(self) -> Outcome:
        """Until the day is over."""
        while self._events and self._events[0][0] < DAY_S:
            at, _, event, args = heapq.heappop(self._events)
            waiting_agents = self._ready + sum(warm for warm, _ in self._spawning.values())
            self.outcome.pool_agent_s += waiting_agents * (at - self.now)
            self.now = at
            event(*args)
        return self.outcome

    def _at(self, at: float, event: Callable[..., None], *args: Any) -> None:
        self._numbers += 1
        heapq.heappush(self._events, (at, self._numbers, event, args))

    # --- what happens ----------------------------------------------------------------------------------

    def _arrive(self) -> None:
        slot = slot_of(self.now)
        self._arrivals[slot] = self._arrivals.get(slot, 0) + 1
        if self._ready:
            self._ready -= 1
            self._begin_call(WARM_S)
            self.outcome.warm += 1
            self._trigger()
            return
        name = f"caller-{self._numbers}-{self.now}"
        if self._waiting or self._agents() >= MAX_AGENTS:
            self._waiting[name] = self.now
        else:
            self._spawn(name, warm=False, since=self.now)

    def _begin_call(self, wait_s: float) -> None:
        self._owned += 1
        self.outcome.waits_s.append(wait_s)
        self._at(self.now + self._chance.expovariate(1 / CALL_MEAN_S), self._end_call)

    def _end_call(self) -> None:
        self._owned -= 1
        self._trigger()

    def _spawn(self, name: str, *, warm: bool, since: float) -> None:
        self._spawning[name] = (warm, since)
        if warm:
            self._queued.append(name)
        else:
            self._queued.appendleft(name)
        self._work()

    def _work(self) -> None:
        while self._queued and self._working < SPAWNS_AT_ONCE:
            self._working += 1
            took_s = self._spawn_s()
            self._at(self.now + took_s, self._spawned, self._queued.popleft(), took_s)

    def _spawned(self, name: str, took_s: float) -> None:
        self._working -= 1
        self._spawns.append(took_s)
        warm, since = self._spawning.pop(name)
        if warm:
            self._ready += 1
        else:
            self._begin_call(self.now - since)
        self._work()
        self._trigger()

    # --- what the maintenance does ---------------------------------------------------------------------

    def _beat(self) -> None:
        self._refill()
        self._at(self.now + BEAT_S, self._beat)

    def _trigger(self) -> None:
        if not self._refill_pending:
            self._refill_pending = True
            self._at(self.now + 0.01, self._refill)

    def _refill(self) -> None:
        self._refill_pending = False
        now = self._aim()
        kinds = {DEFAULT_KIND: KindPolicy(now.target)}
        policy = PoolPolicy(kinds, MAX_AGENTS, SPAWNS_AT_ONCE, waiting_client_timeout_s=math.inf)
        for action in plan(self._snapshot(), policy, self.now):
            match action:
                case SpawnWarm():
                    self._numbers += 1
                    self._spawn(f"pool-{self._numbers}", warm=True, since=self.now)
                case Dispatch(name):
                    self._spawn(name, warm=False, since=self._waiting.pop(name))
                case Retire(count):
                    self._ready -= count

    def _aim(self) -> Aim:
        now = aim(self._floor, Measured(self._arrivals, list(self._spawns), self._peaks, self.now), self._policy)
        slot = slot_of(self.now)
        if now.expected > self._peaks.get(slot, 0.0):
            self._peaks[slot] = now.expected
        self._peaks = {s: value for s, value in self._peaks.items() if s >= slot - 60}
        self._arrivals = {s: count for s, count in self._arrivals.items() if s >= slot - 10}
        if now.target != self._target:
            self._target = now.target
            self.outcome.pool_sizes.append((self.now, now.target, self._ready))
        return now

    def _agents(self) -> int:
        return self._ready + self._owned + len(self._spawning)

    def _snapshot(self) -> PoolSnapshot:
        under_way = tuple(SpawnUnderWay(name, warm, math.inf, 1) for name, (warm, _) in self._spawning.items())
        queue = tuple(Waiting(name, since, self.now) for name, since in self._waiting.items())
        return PoolSnapshot({DEFAULT_KIND: KindSnapshot(self._ready)}, self._owned, under_way, queue)
