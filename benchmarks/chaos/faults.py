"""The faults, each with what is done and for how long. One returns when it is over: then recovery begins."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import random
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from time import monotonic

import psutil
import redis

from benchmarks.chaos.clock import Clock, library
from benchmarks.chaos.traffic import Traffic
from benchmarks.chaos.world import World, send_all
from contract import keys

HEARTBEAT_S = 1.2
"""Until then a host's last heartbeat may be of before its death, or its zygote's."""
PART_STOPS_S = 4.0
HOST_LOST_STOPS_S = 13.0
"""Above ``HOST_LOST_S``."""
AGENT_ALARM_STOPS_S = 9.0
"""Above 0.8 of ``HOST_LOST_S``, after which an agent's alarm ends it."""
FOR_GOOD_S = 20.0
"""Longer than a host takes to find an agent that nobody has go on."""
REDIS_DOWN_S = 2.0
REDIS_STOPS_S = 10.0
DROPPING_S = 10.0
DROP_RATE = 0.03
FULL_S = 8.0
SKEW_S = 60
SKEWED_S = 10.0
SUPERVISED = ("host", "worker", "beat", "api", "zygote", "livekit")


class NotPossibleError(Exception):
    """There was nothing that this fault could be done to; the message says what was missing."""


@dataclass
class Stage:
    """Where a fault happens."""

    world: World
    traffic: Traffic
    rhythm: random.Random


Recovered = Callable[[], bool]
"""What has to be true, beside the system's health, before the fault has been recovered from."""
Inject = Callable[[Stage], Awaitable[Recovered | None]]


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong. ``what`` is for a person."""

    name: str
    what: str
    inject: Inject
    check: Callable[[], object] = lambda: None
    """Raises what says how to make it possible on this machine."""


# --- processes ---------------------------------------------------------------------------------------------


async def kill_part(stage: Stage, part: str) -> Recovered:
    """Its supervisor starts another one."""
    old = await asyncio.to_thread(stage.world.pid_of, part)
    os.kill(old, signal.SIGKILL)
    spoken_from = monotonic() + HEARTBEAT_S
    return lambda: monotonic() > spoken_from and stage.world.has_new(part, old)


async def stop_part(stage: Stage, part: str, seconds: float) -> None:
    """All of a worker's processes, the main one of any other part."""
    pid = await asyncio.to_thread(stage.world.pid_of, part)
    pids = [pid]
    if part == "worker":
        pids += [child.pid for child in psutil.Process(pid).children(recursive=True)]
    with stopped(pids):
        await asyncio.sleep(seconds)


async def kill_agent(stage: Stage, phase: str) -> Recovered:
    """One that is in this phase."""
    pid = await agent_in(stage, phase)
    os.kill(pid, signal.SIGKILL)
    return lambda: not psutil.pid_exists(pid)


async def stop_agent(stage: Stage, phase: str, seconds: float) -> None:
    """One that is in this phase."""
    with stopped([await agent_in(stage, phase)]):
        await asyncio.sleep(seconds)


async def stop_agent_for_good(stage: Stage, phase: str) -> Recovered:
    """One that is in this phase, until it is given up; it could be gone because its user left."""
    pid, before = await agent_in(stage, phase), _given_up(stage)
    until = monotonic() + FOR_GOOD_S
    with stopped([pid]):
        while psutil.pid_exists(pid) and monotonic() < until:
            await asyncio.sleep(0.05)
    return lambda: _given_up(stage) > before


def _given_up(stage: Stage) -> int:
    with stage.world.store() as store:
        return int(store.hget(keys.STATS_REPLACEMENTS, "agent_unresponsive") or 0)


async def agent_in(stage: Stage, phase: str) -> int:
    """The PID of an agent that waits, or whose user was told so, or who talks with it."""
    with stage.world.store() as store:
        if phase == "warm":
            session_id = await _waiting(stage, store)
        else:
            visit = await stage.traffic.one_in({"assigned": "assigned", "active": "talking"}[phase])
            session_id = visit and visit.session_id
        pid = session_id and store.hget(f"session:{session_id}", "agentPid")
    if not pid:
        raise NotPossibleError(f"no agent was {phase}")
    return int(pid)


async def _waiting(stage: Stage, store: redis.Redis, timeout_s: float = 30.0) -> str | None:
    """An agent that waits, as soon as there is one: users may just have taken all."""
    deadline = monotonic() + timeout_s
    while monotonic() < deadline:
        if found := sorted(store.smembers(keys.POOL_READY)):
            return stage.rhythm.choice(found)
        await asyncio.sleep(0.01)
    return None


@contextlib.contextmanager
def stopped(pids: list[int]) -> Iterator[None]:
    """They stand still, and go on whatever happened meanwhile."""
    send_all(pids, signal.SIGSTOP)
    try:
        yield
    finally:
        send_all(pids, signal.SIGCONT)


# --- Redis -------------------------------------------------------------------------------------------------


async def kill_redis(stage: Stage) -> None:
    """It comes back with what its append-only file has."""
    server = stage.world.server
    await asyncio.to_thread(server.stop, signal.SIGKILL)
    try:
        await asyncio.sleep(REDIS_DOWN_S)
    finally:
        await asyncio.to_thread(server.start)


async def kill_connections(stage: Stage) -> None:
    """Everybody's at once."""
    with stage.world.store() as store:
        store.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def drop_replies(stage: Stage) -> None:
    """What was asked is done, and who asked does not hear of it."""
    stage.world.proxy.drop(DROP_RATE)
    try:
        await asyncio.sleep(DROPPING_S)
    finally:
        stage.world.proxy.drop(0.0)


async def fill_redis(stage: Stage) -> None:
    """It answers reads and refuses writes."""
    with stage.world.store() as store:
        store.config_set("maxmemory-policy", "noeviction")
        store.config_set("maxmemory", "1mb")
        try:
            await asyncio.sleep(FULL_S)
        finally:
            store.config_set("maxmemory", "0")


# --- the machine -------------------------------------------------------------------------------------------


async def fill_logs(stage: Stage) -> None:
    """No program's line can be written, nor any agent's."""
    world = stage.world
    writers = await asyncio.to_thread(world.processes)
    try:
        await asyncio.to_thread(world.full_folder.fill, writers)
        await asyncio.sleep(FULL_S)
    finally:
        await asyncio.to_thread(world.full_folder.clear)


async def skew_clock(stage: Stage, part: str) -> None:
    """It jumps while the part runs, and jumps back.

    Not a host's: its agents would inherit libfaketime, under which their native threads spin.
    """
    clock = Clock(stage.world.system, part)
    with contextlib.ExitStack() as stack:
        await asyncio.to_thread(stack.enter_context, clock.replaced())
        await stage.world.until(stage.world.healthy, "healthy with a clock that can be set")
        clock.set(SKEW_S)
        await asyncio.sleep(SKEWED_S)
        clock.set(0)
        await asyncio.sleep(2)
        await asyncio.to_thread(stack.close)


# --- all of them -------------------------------------------------------------------------------------------


def _faults() -> list[Fault]:
    of = functools.partial
    faults = [Fault(f"{part} killed", f"kill -9 of {part}", of(kill_part, part=part)) for part in SUPERVISED]
    faults += [
        Fault(f"{part} stands still", f"SIGSTOP for {PART_STOPS_S:g} s", of(stop_part, part=part, seconds=PART_STOPS_S))
        for part in ("host", "zygote", "worker", "beat", "api")
    ]
    lost_s, alarm_s = HOST_LOST_STOPS_S, AGENT_ALARM_STOPS_S
    faults += [
        Fault("host lost", f"SIGSTOP for {lost_s:g} s", of(stop_part, part="host", seconds=lost_s)),
    ]
    for phase in ("warm", "assigned", "active"):
        stop = of(stop_agent, phase=phase, seconds=PART_STOPS_S)
        faults.append(Fault(f"{phase} agent killed", "kill -9", of(kill_agent, phase=phase)))
        faults.append(Fault(f"{phase} agent stands still", f"SIGSTOP for {PART_STOPS_S:g} s", stop))
    for phase in ("warm", "active"):
        stop = of(stop_agent, phase=phase, seconds=alarm_s)
        faults.append(Fault(f"{phase} agent past its alarm", f"SIGSTOP for {alarm_s:g} s", stop))
    stop = of(stop_agent_for_good, phase="active")
    faults.append(Fault("active agent stopped for good", "SIGSTOP until it is ended", stop))
    faults += [
        Fault("Redis killed", f"kill -9, back from its append-only file after {REDIS_DOWN_S:g} s", kill_redis),
        Fault(
            "Redis stands still", f"SIGSTOP for {REDIS_STOPS_S:g} s", of(stop_part, part="redis", seconds=REDIS_STOPS_S)
        ),
        Fault("Redis's connections cut", "CLIENT KILL TYPE normal", kill_connections),
        Fault("Redis's replies dropped", f"{DROP_RATE:.0%} of them for {DROPPING_S:g} s", drop_replies),
        Fault("Redis out of memory", f"maxmemory 1mb, noeviction, for {FULL_S:g} s", fill_redis),
        Fault("logs' disk full", f"for {FULL_S:g} s", fill_logs),
    ]
    for part in ("worker", "beat", "api"):
        skew = f"{SKEW_S} s ahead for {SKEWED_S:g} s; the part is restarted before and after"
        faults.append(Fault(f"{part}'s clock wrong", skew, of(skew_clock, part=part), library))
    return faults


FAULTS = {fault.name: fault for fault in _faults()}
"""Every fault, by its name."""


def drawn(seed: int, count: int | None, only: list[str]) -> list[Fault]:
    """So many faults in the seed's order: each once before any comes again. All of them once without a count."""
    kinds = only or list(FAULTS)
    rhythm = random.Random(seed)
    order: list[str] = []
    while len(order) < (count or len(kinds)):
        order += rhythm.sample(kinds, len(kinds))
    return [FAULTS[name] for name in order[: count or len(kinds)]]
