"""One run: faults in the seed's order under steady traffic, and what is true afterwards."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from benchmarks.chaos import promises
from benchmarks.chaos.faults import Fault, NotPossibleError, Stage
from benchmarks.chaos.traffic import Traffic
from benchmarks.chaos.visit import Notice
from benchmarks.chaos.world import POOL, NotRecoveredError, World, running_world

POOL_S = 10.0
"""From a fault's recovery until the pool is full."""
AFTERMATH_S = 3.0
"""Between a recovery and the next fault: what users notice until then is that fault's."""
EVERY_S = 6.0
"""A user comes this often."""

Say = Callable[[str], None]


@dataclass
class Effect:
    """What one fault did. Times are ``time.monotonic()``."""

    fault: Fault
    began_at: float
    over_at: float = 0.0
    recovered_at: float = 0.0
    pool_s: float = 0.0
    touched: int = 0
    noticed: Counter[str] = field(default_factory=Counter)

    @property
    def recovery_s(self) -> float:
        """From the fault's end until the system is healthy."""
        return self.recovered_at - self.over_at


@dataclass
class Outcome:
    """What a run comes to."""

    seed: int
    effects: list[Effect] = field(default_factory=list)
    traffic: Traffic | None = None
    promises: dict[str, list[str]] = field(default_factory=dict)
    """Each with what broke it; nothing for one that was held."""
    early_ends: dict[str, str] = field(default_factory=dict)

    @property
    def broken(self) -> list[str]:
        """Each finding with the promise that it breaks."""
        return [f"{promise}: {each}" for promise, found in self.promises.items() for each in found]


async def run(
    seed: int,
    faults: Sequence[Fault],
    *,
    say: Say,
    every_s: float = EVERY_S,
    aftermath_s: float = AFTERMATH_S,
    pool_s: float = POOL_S,
) -> Outcome:
    """Start the system, do the faults, end all; promises that were broken are in the outcome, with the folder kept."""
    outcome = Outcome(seed)
    mounts = any(fault.name == "logs' disk full" for fault in faults)
    async with running_world(seed, mounts=mounts) as world:
        traffic = outcome.traffic = Traffic(world.system.url, seed, every_s)
        say(f"running in {world.system.folder}; logs fill up by {world.full_folder.how}")
        try:
            async with traffic.flowing():
                stage = Stage(world, traffic, random.Random(seed))
                await world.until(traffic.some(1), "the first user was served")
                for fault in faults:
                    outcome.effects.append(await _one(stage, fault, outcome, say, pool_s))
                    await asyncio.sleep(aftermath_s)
                outcome.promises |= _of_last(outcome.effects, pool_s)
            say(f"{len(traffic.visits)} users came; looking at what is left")
            await _after(world, traffic, outcome)
        finally:
            _attribute(outcome)
        await asyncio.to_thread(world.system.stop)
        outcome.promises |= promises.of_end(world)
        if outcome.broken:
            world.keep()
    return outcome


async def _one(stage: Stage, fault: Fault, outcome: Outcome, say: Say, pool_s: float) -> Effect:
    effect = Effect(fault, monotonic())
    late = outcome.promises.setdefault(f"recovered, and the pool full within {pool_s:g} s of it", [])
    say(f"  {fault.name} ({fault.what})")
    try:
        recovered = await fault.inject(stage)
        effect.over_at = monotonic()
        await stage.world.until(
            lambda: (recovered is None or recovered()) and stage.world.healthy(), f"healthy after {fault.name}"
        )
        effect.recovered_at = monotonic()
        effect.pool_s = await stage.world.until(
            stage.world.pool_is_full, f"{POOL} warm agents after {fault.name}", pool_s
        )
    except (NotRecoveredError, NotPossibleError) as error:
        effect.over_at = effect.over_at or monotonic()
        effect.recovered_at = effect.recovered_at or monotonic()
        late.append(f"{fault.name}: {error}")
    say(f"    healthy in {effect.recovery_s:.1f} s, pool full {effect.pool_s:.1f} s later")
    return effect


def _of_last(effects: Sequence[Effect], pool_s: float) -> dict[str, list[str]]:
    """From the end of the last fault itself, the restart of whatever it ended included."""
    last = effects[-1]
    seconds = last.recovery_s + last.pool_s
    found = [f"{last.fault.name}: {seconds:.1f} s"] if seconds > pool_s else []
    return {f"healthy and the pool full within {pool_s:g} s of the last fault": found}


async def _after(world: World, traffic: Traffic, outcome: Outcome) -> None:
    outcome.promises |= promises.of_visits(traffic)
    rest = await promises.of_rest(world)
    outcome.promises |= promises.of_records(world, traffic) | rest
    outcome.early_ends = promises.reasons(world, traffic)


def _attribute(outcome: Outcome) -> None:
    """Whose visits each fault touched, and what they noticed of it."""
    visits = outcome.traffic.visits if outcome.traffic else []
    for effect in outcome.effects:
        over_at = effect.recovered_at + effect.pool_s
        effect.touched = sum(v.began_at < over_at and (v.ended_at or over_at) > effect.began_at for v in visits)
    for visit in visits:
        seen = {(_cause(outcome.effects, notice), notice.what) for notice in visit.notices}
        for cause, what in seen:
            if cause is not None:
                outcome.effects[cause].noticed[what] += 1


def _cause(effects: Sequence[Effect], notice: Notice) -> int | None:
    """The fault that began while it lasted, else the last one before it; none before the first."""
    during = [i for i, effect in enumerate(effects) if notice.since <= effect.began_at <= notice.at]
    before = [i for i, effect in enumerate(effects) if effect.began_at < notice.since]
    return during[0] if during else (before[-1] if before else None)
