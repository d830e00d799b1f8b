"""Agents that use up what is not theirs: found from outside, since a process that is out of memory can say nothing."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from contract.procfs import SESSION_FIELD, stat_fields
from orchestrator.host.processes import all_pids

GONE = (FileNotFoundError, ProcessLookupError)


@dataclass(frozen=True)
class Bounds:
    """What one agent may use, its children included."""

    memory_mb: int
    processes: int


def overruns(leaders: Mapping[int, Bounds]) -> dict[int, str]:
    """The agents (leaders of their sessions) over their bounds, and why in words. Takes milliseconds: not on a loop."""
    found = {}
    members = _members(set(leaders))
    for leader, pids in members.items():
        bounds = leaders[leader]
        if len(pids) > bounds.processes:
            found[leader] = f"it has {len(pids)} processes; {bounds.processes} are allowed (AGENT_PROCESSES)"
            continue
        used_mb = max((anonymous_bytes(pid) for pid in pids), default=0) // 2**20
        if used_mb > bounds.memory_mb:
            found[leader] = f"it uses {used_mb} MB of memory; {bounds.memory_mb} are allowed (AGENT_MEMORY_MB)"
    return found


def _members(leaders: set[int]) -> dict[int, list[int]]:
    members: dict[int, list[int]] = defaultdict(list)
    for pid in all_pids():
        with suppress(*GONE):
            session = int(stat_fields(pid)[SESSION_FIELD])
            if session in leaders:
                members[session].append(pid)
    return members


def anonymous_bytes(pid: int) -> int:
    """``RssAnon`` of a process: what it wrote to, and what it shares with the zygote until then; 0 when it is gone."""
    with suppress(*GONE):
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    return 0
