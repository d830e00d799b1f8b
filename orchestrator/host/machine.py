"""What this machine has, and what its agents use of it. A container's limits (cgroup v2) count where they are less."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import psutil

from contract.procfs import private_bytes, stat_fields
from orchestrator.domain.capacity import CallUse, Capacity, CapacityPolicy, MachineUse, capacity
from orchestrator.host.processes import ProcessId
from orchestrator.host.watch import resident_bytes

CGROUP = Path("/sys/fs/cgroup")
MEMORY_SAMPLE = 10
"""Agents whose memory is read for a mean: reading one takes a millisecond."""
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
USER_TICKS_FIELD, SYSTEM_TICKS_FIELD = 11, 12


def free_memory_bytes(cgroup: Path = CGROUP) -> int:
    """What may still be used, in bytes: the machine's, or the container's when that is less."""
    free = int(psutil.virtual_memory().available)
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text()) - _idle_cache_bytes(cgroup)
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, max(0, int(limit) - used))


def _idle_cache_bytes(cgroup: Path) -> int:
    """Files' contents that the kernel drops when memory is wanted."""
    with suppress(OSError, ValueError, KeyError):
        return int(dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())["inactive_file"])
    return 0


def processors(cgroup: Path = CGROUP) -> float:
    """Processors that this process may use: the machine's, or the container's when those are fewer."""
    usable = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = (cgroup / "cpu.max").read_text().split()
        return usable if quota == "max" else min(usable, int(quota) / int(period))
    except (OSError, ValueError):
        return usable


def processor_s(process: ProcessId) -> float | None:
    """Processor seconds that a process has used; None when it is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fields = stat_fields(process.pid)
        return (int(fields[USER_TICKS_FIELD]) + int(fields[SYSTEM_TICKS_FIELD])) / TICKS_PER_S
    return None


@dataclass
class Machine:
    """What was measured of this machine's agents."""

    policy: CapacityPolicy
    agent_private_bytes: int = 0
    """Mean of all agents; 0 without any."""
    call_private_bytes: int | None = None
    call_use: CallUse = field(default_factory=CallUse)
    _before: dict[ProcessId, tuple[float, float]] = field(default_factory=dict)
    """Processor seconds of each agent in a call, and when they were read."""

    def measure(self, agents: Mapping[ProcessId, int], in_call: Sequence[ProcessId], now: float) -> None:
        """Look at all agents, and at those in calls. It takes milliseconds for each: not for the event loop.

        ``agents`` have what each said of its own private memory, in bytes: that counts where the kernel does not let
        this process look, up to what it tells of everybody. ``now`` is by a clock that does not jump. A call counts
        from the second time it is seen.
        """
        self.agent_private_bytes = _mean_private_bytes(agents, agents)
        lasting = [process for process in in_call if process in self._before]
        if private := _mean_private_bytes(lasting, agents):
            self.call_private_bytes = private
        used = {process: seconds for process in in_call if (seconds := processor_s(process)) is not None}
        spent = [(used[p] - self._before[p][0], now - self._before[p][1]) for p in lasting if p in used]
        self.call_use = self.call_use.and_then(sum(s for s, _ in spent), sum(s for _, s in spent))
        self._before = {process: (seconds, now) for process, seconds in used.items()}

    def capacity(self, agents: int) -> Capacity:
        """How many agents there can be, with so many now, those on their way included."""
        use = MachineUse(
            agents=agents,
            memory_available_bytes=free_memory_bytes(),
            agent_private_bytes=self.agent_private_bytes,
            call_private_bytes=self.call_private_bytes,
            processors=processors(),
            call_use=self.call_use,
        )
        return capacity(use, self.policy)


def _mean_private_bytes(agents: Iterable[ProcessId], said: Mapping[ProcessId, int]) -> int:
    sample = [_private_bytes(process, said.get(process, 0)) for process in islice(agents, MEMORY_SAMPLE)]
    return sum(sample) // len(sample) if sample else 0


def _private_bytes(process: ProcessId, said: int) -> int:
    return private_bytes(process.pid) or min(said, resident_bytes(process.pid))
