"""The pool's size by arrivals, against fixed ones: a day of made-up traffic in virtual time, with the real policy.

``python -m benchmarks.pool_policy``; ``--seed N`` for another day. It also draws ``docs/images/pool-policy.svg``.
"""

from __future__ import annotations

import argparse
import math
import random
from pathlib import Path

from benchmarks.pool_simulation import DAY_S, Outcome, Simulation, Traffic, day, starts_a_minute
from benchmarks.report import Report, percentile
from orchestrator.domain.demand import DemandPolicy

SEED = 20
PICTURE = Path(__file__).parents[1] / "docs" / "images" / "pool-policy.svg"
SPAWNS = {"spawns of 0.15 s": 0.15, "spawns of 15 s": 15.0}
"""Medians, of a fork and of the ordinary way; they spread by a quarter (log-normal)."""
SPREAD = 0.25
POOLS = {
    "by arrivals, floor 3": (3, DemandPolicy(cap=100)),
    "fixed 3": (3, DemandPolicy(cap=0)),
    "fixed 10": (10, DemandPolicy(cap=0)),
}
"""Floors and policies. A cap of 0 is a fixed pool."""


def main() -> None:
    """Both tables and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=SEED)
    seed = parser.parse_args().seed
    traffic = day(seed)
    print(f"seed {seed}: {len(traffic.arrivals_s)} starts in a day, {len(traffic.bursts)} bursts")
    report = Report("pool_policy", f"python -m benchmarks.pool_policy --seed {seed}")
    for spawn, median_s in SPAWNS.items():
        outcomes = {pool: _simulate(traffic, pool, median_s, seed) for pool in POOLS}
        for pool, outcome in outcomes.items():
            _add(report, f"{spawn}, {pool}", outcome)
    report.raw = {
        "seed": seed,
        "starts": len(traffic.arrivals_s),
        "targets": [(round(at), target) for at, target, _ in outcomes["by arrivals, floor 3"].pool_sizes],
    }
    report.publish()
    _draw(traffic, outcomes, spawn)


def _simulate(traffic: Traffic, pool: str, median_s: float, seed: int) -> Outcome:
    floor, policy = POOLS[pool]
    chance = random.Random(seed)
    spawn_s = lambda: chance.lognormvariate(math.log(median_s), SPREAD)  # noqa: E731
    return Simulation(traffic, floor, policy, spawn_s, seed).run()


def _add(report: Report, what: str, outcome: Outcome) -> None:
    waits_s = outcome.waits_s
    report.add(f"{what}: warm starts", outcome.warm / len(waits_s) * 100, "%")
    report.add(f"{what}: wait p99", percentile(waits_s, 0.99), "s")
    report.add(f"{what}: pool", outcome.pool_agent_s / 3600, "agent-hours")


def _draw(traffic: Traffic, outcomes: dict[str, Outcome], spawn: str) -> None:
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "greenroom"  # the same picture for the same day
    from matplotlib import pyplot as plt

    figure, (above, below) = plt.subplots(2, 1, figsize=(9, 5), sharex=True, height_ratios=(2, 3))
    minutes = [minute * 60.0 for minute in range(int(DAY_S / 60))]
    above.fill_between(
        [at / 3600 for at in minutes], [starts_a_minute(at, traffic.bursts) for at in minutes], color="#b9cdb4"
    )
    above.set_ylabel("starts a minute")
    for (name, outcome), colour in zip(outcomes.items(), ("#2f6b3a", "#b0722c", "#6b7280"), strict=True):
        changes = [*outcome.pool_sizes, (DAY_S, outcome.pool_sizes[-1][1], 0)]
        label = f"{name}: {outcome.warm / len(outcome.waits_s):.1%} warm, {outcome.pool_agent_s / 3600:.0f} agent-hours"
        hours, targets = [at / 3600 for at, _, _ in changes], [target for _, target, _ in changes]
        below.step(hours, targets, where="post", color=colour, label=label, linewidth=1.4)
    below.set(
        ylabel="the pool's target", xlabel="hour of the day", xlim=(0, 24), xticks=range(0, 25, 3), ylim=(0, None)
    )
    below.legend(loc="upper left", fontsize=8, frameon=False)
    above.set_title(f"A day of starts, {spawn}", fontsize=10)
    for axes in (above, below):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(PICTURE, metadata={"Date": None, "Creator": None})


if __name__ == "__main__":
    main()
