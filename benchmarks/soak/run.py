"""One run: a full pool and a user every other second, for minutes on end, with a look at everything now and then."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from time import monotonic

from benchmarks.chaos import promises
from benchmarks.chaos.traffic import Traffic
from benchmarks.chaos.world import running_world
from benchmarks.soak.samples import Sample, Sampler
from benchmarks.soak.verdict import Judged, broken, judge

EVERY_S = 2.0
LOOK_EVERY_S = 15.0
"""A look at sixty agents takes most of half a second of a processor: more often, it would be part of the load."""
WARM_UP_S = 480.0
"""By then records that are kept for ``RECORD_S`` come and go in step, every program has done everything once, and the
heap of LiveKit, which is collected, has the size at which it stays."""
RECORD_S = 120
AT_ONCE = 6
"""Calls. Two cores that their users share carry no more beside so many agents; who comes then waits outside."""
LONG_OUTSIDE_S = 30.0
"""Who waits so long has not been served at the pace at which users come."""
SILENT = 0.75
"""Of the users so many only type and read: the sound of all would take more than two cores have beside the rest."""
FULL_S = 180.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class Plan:
    """What is to be run."""

    minutes: float
    agents: int
    every_s: float = EVERY_S

    @property
    def warm_up_s(self) -> float:
        """The beginning, which is not judged: half of a short run."""
        return min(WARM_UP_S, self.minutes * 60 / 2)

    @property
    def settings(self) -> dict[str, str]:
        """The system's: what is kept for a day by default would hide whether it is ever let go."""
        return {
            "PREWARM_POOL_SIZE": str(self.agents),
            "POOL_CAP": "0",
            "MAX_BOTS": str(self.agents + 2 * AT_ONCE),
            "SESSION_RECORD_S": str(RECORD_S),
            "RECONNECT_GRACE_S": "4",
            "PROCESSORS_PERCENT": "0",  # nobody could talk with all of a pool that is far larger than its machine
        }


@dataclass
class Outcome:
    """What a run comes to."""

    plan: Plan
    samples: list[Sample] = field(default_factory=list)
    judged: list[Judged] = field(default_factory=list)
    promises: dict[str, list[str]] = field(default_factory=dict)
    """Each with what broke it; nothing for one that was held."""
    users: dict[str, int] = field(default_factory=dict)
    noticed: dict[str, int] = field(default_factory=dict)
    outside_s: dict[int, float] = field(default_factory=dict)
    """How long each user waited outside who had to, by number: the n-th comes n times ``every_s`` after the first."""

    @property
    def outside(self) -> dict[str, float]:
        """How many had to wait outside, and how long (seconds)."""
        waited = list(self.outside_s.values()) or [0.0]
        return {"users": len(self.outside_s), "median_s": round(median(waited), 1), "longest_s": round(max(waited), 1)}

    @property
    def broken(self) -> bool:
        """Whether any promise was."""
        return any(self.promises.values())


async def run(plan: Plan, seed: int, *, say: Say) -> Outcome:
    """Start the system, let users come, look at it all the while, end all.

    Raises:
        NotRecoveredError: the pool was never full.
    """
    outcome = Outcome(plan)
    async with running_world(seed, settings=plan.settings, timeout_s=FULL_S) as world:
        say(f"{plan.agents} agents wait; running in {world.system.folder}")
        sampler = Sampler(world)
        traffic = Traffic(
            world.system.url,
            seed,
            plan.every_s,
            questions=(1, 1),
            most_at_once=AT_ONCE,
            keyed=False,
            silent=SILENT,
            patient=True,
        )
        async with traffic.flowing():
            await _watch(sampler, traffic, outcome, say)
        outcome.judged = judge([sample for sample in outcome.samples if sample.at_s >= plan.warm_up_s])
        outcome.promises = broken(outcome.judged) | _of_users(traffic, outcome)
        outcome.promises["every part is the process that it was"] = sampler.replaced()
        outcome.promises |= await promises.of_rest(world)
        await asyncio.to_thread(world.system.stop)
        outcome.promises |= promises.of_end(world)
        if outcome.broken:
            world.keep()
    return outcome


async def _watch(sampler: Sampler, traffic: Traffic, outcome: Outcome, say: Say) -> None:
    began = monotonic()
    minute = 1
    while monotonic() < began + outcome.plan.minutes * 60:
        outcome.samples.append(await asyncio.to_thread(sampler.look))
        if monotonic() > began + minute * 60:
            say(_line(minute, outcome.samples[-1], traffic))
            minute += 1
        await asyncio.sleep(LOOK_EVERY_S)


def _line(minute: int, sample: Sample, traffic: Traffic) -> str:
    parts = ", ".join(f"{name} {mib:.1f}" for name, mib in sample.memory.items())
    served = sum(visit.outcome == "served" for visit in traffic.visits)
    outside = f"{len(traffic.outside_s)} waited outside, {max(traffic.outside_s.values(), default=0.0):.1f} s at most"
    came = f"{served} of {len(traffic.visits)} served, {outside}"
    return f"  {minute} min: {came}; {sample.agents} agents wait; MiB: {parts}"


def _of_users(traffic: Traffic, outcome: Outcome) -> dict[str, list[str]]:
    """With no fault there is no reason to refuse anybody."""
    outcome.users = dict(Counter(str(visit.outcome) for visit in traffic.visits))
    outcome.outside_s = dict(sorted(traffic.outside_s.items()))
    noticed = Counter(notice.what.split(" after ")[0] for visit in traffic.visits for notice in visit.notices)
    outcome.noticed = dict(noticed)
    unserved = [f"{visit.user}: {visit.words}" for visit in traffic.visits if visit.outcome != "served"]
    too_long = sum(waited > LONG_OUTSIDE_S for waited in outcome.outside_s.values())
    late = [f"{too_long} waited outside for more than {LONG_OUTSIDE_S:g} s"] if too_long else []
    return {"every user is served, at the pace": unserved + late, **promises.of_visits(traffic)}
