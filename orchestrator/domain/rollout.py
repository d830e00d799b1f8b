"""How a rollout goes on: pure policy. It is given how things stand, and returns the next step.

A host first loads the agent's code anew beside what it has; where that fails nothing has changed. Then the agents that
wait and are older are recycled, a few at a time, each few only when the pool has filled up from those before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contract.keys import DEFAULT_KIND


@dataclass(frozen=True)
class HostProgress:
    """How far one host is that is alive and does not drain."""

    host: str
    followed: bool
    """It has loaded the code for this rollout, or tried to."""
    error: str = ""
    """Why it could not."""


@dataclass(frozen=True)
class PoolProgress:
    """How far the pool of one kind of agent is."""

    kind: str
    old: int
    """Waiting agents of an older generation than their host has now."""
    ready: int
    target: int


@dataclass(frozen=True)
class RolloutView:
    """How things stand, read atomically."""

    hosts: Sequence[HostProgress]
    pools: Sequence[PoolProgress]
    quiet_s: float
    """How long nothing has moved."""


@dataclass(frozen=True)
class RolloutPolicy:
    """How fast, and how patient."""

    share: float = 0.25
    """Of the pool, recycled at a time; one agent at least."""
    patience_s: float = 90.0
    """Above the time in which a host loads the code and an agent has its three tries."""


@dataclass(frozen=True)
class Tell:
    """Have these hosts load the code anew."""

    hosts: tuple[str, ...]


@dataclass(frozen=True)
class Recycle:
    """End so many older agents that wait, and leave at least so many in their pool."""

    count: int
    leaving: int
    kind: str = DEFAULT_KIND


@dataclass(frozen=True)
class Wait:
    """For what is under way, said in words."""

    what: str


@dataclass(frozen=True)
class Done:
    """No older agent waits."""


@dataclass(frozen=True)
class Fail:
    """It stops here, for a reason in words. What is not recycled stays as it is."""

    reason: str


Step = Tell | Recycle | Wait | Done | Fail


def step(view: RolloutView, policy: RolloutPolicy) -> Step:
    """What to do next."""
    broken = [host for host in view.hosts if host.error]
    if broken:
        return Fail("; ".join(f"{host.host}: {host.error}" for host in broken))
    late = view.quiet_s > policy.patience_s
    waits = _for_hosts(view)
    if waits is None:
        waits = _for_the_pools(view, policy)
    if isinstance(waits, Wait | Tell) and late:
        return Fail(f"nothing moved for {policy.patience_s:g} s: {_words(waits)}")
    return waits


def _for_hosts(view: RolloutView) -> Step | None:
    if not view.hosts:
        return Wait("no host is alive that does not drain")
    behind = tuple(host.host for host in view.hosts if not host.followed)
    return Tell(behind) if behind else None


def _for_the_pools(view: RolloutView, policy: RolloutPolicy) -> Step:
    """A few of the first one from which some can be spared."""
    steps = [_for_one(pool, policy) for pool in view.pools if pool.old > 0]
    if not steps:
        return Done()
    return next((step for step in steps if isinstance(step, Recycle)), steps[0])


def _for_one(pool: PoolProgress, policy: RolloutPolicy) -> Recycle | Wait:
    batch = max(1, int(pool.target * policy.share))
    leaving = max(0, pool.target - batch)
    count = min(pool.old, pool.ready - leaving)
    if count <= 0:
        whose = "the pool" if pool.kind == DEFAULT_KIND else f"the pool of {pool.kind}"
        return Wait(f"{whose} has {pool.ready} of {pool.target} agents")
    return Recycle(count, leaving, pool.kind)


def _words(step: Wait | Tell) -> str:
    return step.what if isinstance(step, Wait) else f"{', '.join(step.hosts)} did not load the code"
