"""Agents that use up what is not theirs, or are stopped: found from outside, since such a process can say nothing."""

from __future__ import annotations

import asyncio
import math
import os
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import structlog

from orchestrator.host.agent import Agent
from orchestrator.host.processes import ProcessId, Table, kill_family

log = structlog.get_logger("greenroom.host")

WATCH_S = 2.0
AGAIN_S = 0.1
"""Memory is looked at twice: a program that is just being started shows its parent's, for about a millisecond."""
GONE = (FileNotFoundError, ProcessLookupError)
RESIDENT = ("RssAnon:", "RssShmem:", "VmSwap:")
PROPORTIONAL = ("Pss_Anon:", "Pss_Shmem:", "SwapPss:")


@dataclass(frozen=True)
class Bounds:
    """What one agent may use, with all that it started."""

    memory_mb: int
    processes: int


@dataclass(frozen=True)
class Seen:
    """What one look found."""

    families: Mapping[ProcessId, frozenset[ProcessId]]
    """Each agent with all that it started."""
    overruns: Mapping[ProcessId, str]
    """The agents over their bounds, and why in words."""
    stopped: Collection[ProcessId]
    """The agents that do not run until they are told to go on."""
    strays: Collection[ProcessId]


class Watched(Protocol):
    """Whose agents they are (``Agents``)."""

    def all(self) -> list[Agent]:
        """Every living agent."""

    def stop_soon(self, agent: Agent, reason: str) -> None:
        """End one at once, without waiting until it is dead."""

    def give_up(self, agent: Agent, reason: str) -> None:
        """It lives and is of no use: another one takes its session."""


class Watch:
    """Knows what each agent has started, ends those over their bounds, and kills what is nobody's any more.

    It gives up those that are stopped for longer than ``frozen_s``. Their own alarm, which is as long, ends them only
    when they go on, and a user in a call would hear nothing until then.
    """

    def __init__(self, agents: Watched, bounds: Callable[[Agent], Bounds], *, frozen_s: float) -> None:
        self._agents = agents
        self._bounds = bounds
        self._stopped_looks: dict[ProcessId, int] = {}
        # Looks are counted, not seconds: a host that was itself stopped has not looked.
        self._most_stopped_looks = math.ceil(frozen_s / WATCH_S)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self.look()
            except Exception:
                # It looks at strangers. Were it to end the daemon, one of them could; the next look may succeed.
                log.exception("agents were not looked at")

    async def look(self) -> None:
        """Look once. In a thread: it takes milliseconds, in which an assignment would have to wait."""
        agents = {agent.process: agent for agent in self._agents.all()}
        known = {process: agent.family for process, agent in agents.items()}
        bounds = {process: self._bounds(agent) for process, agent in agents.items() if agent.ending is None}
        seen = await asyncio.to_thread(look, known, bounds, os.getpid())
        for process, members in seen.families.items():
            agents[process].family = members
        for process, reason in seen.overruns.items():
            if agents[process].ending is None and not agents[process].dead.is_set():
                self._agents.stop_soon(agents[process], reason)
        self._give_up_stopped(agents, seen.stopped)
        # One may have become known meanwhile: its zygote died before it could tell of it.
        for stray in set(seen.strays) - {agent.process for agent in self._agents.all()}:
            log.warning("a process that an agent left behind is killed", pid=stray.pid)
            await asyncio.to_thread(kill_family, stray)

    def _give_up_stopped(self, agents: Mapping[ProcessId, Agent], stopped: Collection[ProcessId]) -> None:
        self._stopped_looks = {process: self._stopped_looks.get(process, 0) + 1 for process in stopped}
        for process, looks in self._stopped_looks.items():
            agent = agents[process]
            # One that joins is its spawn's to wait for. Of one that is taken up, its phase is not known yet.
            is_known = agent.phase != "joining" or agent.taken_up
            is_ours = is_known and not agent.is_going and not agent.dead.is_set()
            if looks > self._most_stopped_looks and is_ours:
                self._agents.give_up(agent, "its agent was stopped, and nobody had it go on")


def look(known: Mapping[ProcessId, Collection[ProcessId]], bounds: Mapping[ProcessId, Bounds], host: int) -> Seen:
    """Look at these agents, of which this was known before, and at the host's children. Not on a loop."""
    table = Table()
    families = {leader: table.family({leader, *members}) for leader, members in known.items()}
    nobodys = _strays(table, host, frozenset[ProcessId]().union(*families.values()))
    overruns = _overruns({leader: families[leader] for leader in bounds}, bounds)
    stopped = [leader for leader in known if (row := table.rows.get(leader.pid)) is not None and row.is_stopped]
    return Seen(families, overruns, stopped, nobodys)


def _strays(table: Table, host: int, known: Collection[ProcessId]) -> list[ProcessId]:
    """The host's children that are neither known nor, as zygotes are, in its own session.

    The host adopts what its descendants leave behind. Who left an agent's session and lost its parent before it was
    seen cannot be told from another agent's: it would be counted nowhere, and outlive its session.
    """
    children = (row for row in table.rows.values() if row.parent == host and not row.is_dead)
    own = table.rows[host].session
    return [row.process for row in children if row.session != own and row.process not in known]


def _overruns(
    families: Mapping[ProcessId, Collection[ProcessId]], bounds: Mapping[ProcessId, Bounds]
) -> dict[ProcessId, str]:
    found, suspects = {}, []
    for leader, members in families.items():
        if len(members) > bounds[leader].processes:
            most = bounds[leader].processes
            found[leader] = f"it has {len(members)} processes; {most} are allowed (AGENT_PROCESSES)"
        elif _used_mb(members, resident_bytes) > bounds[leader].memory_mb:
            suspects.append(leader)
    if suspects:
        time.sleep(AGAIN_S)
    for leader in suspects:
        used_mb, most = _used_mb(families[leader], own_bytes), bounds[leader].memory_mb
        if used_mb > most:
            found[leader] = f"it uses {used_mb} MB of memory; {most} are allowed (AGENT_MEMORY_MB)"
    return found


def _used_mb(members: Collection[ProcessId], measure: Callable[[int], int]) -> int:
    return sum(measure(process.pid) for process in members) // 2**20


def own_bytes(pid: int) -> int:
    """Its part of the memory that it shares with others, and its own; where the kernel does not tell, all of both.

    Takes some 8 ms for 300 MB, and is told of hidden processes only to who may trace them.
    """
    with suppress(PermissionError):
        if told := _sum_of(PROPORTIONAL, Path(f"/proc/{pid}/smaps_rollup")):
            return told
    return resident_bytes(pid)


def resident_bytes(pid: int) -> int:
    """What a process wrote to, privately or for others to see, and what it shares with its zygote until then.

    Takes 0.04 ms, and is told of every process.
    """
    return _sum_of(RESIDENT, Path(f"/proc/{pid}/status"))


def _sum_of(names: Collection[str], path: Path) -> int:
    """0 when the process is gone."""
    with suppress(*GONE):
        # Its name stands there, too, and is any bytes but a newline. To splitlines() a vertical tab would end a line.
        lines = (line.split() for line in path.read_text(errors="replace").split("\n"))
        return sum(int(words[1]) * 1024 for words in lines if words and words[0] in names)
    return 0
