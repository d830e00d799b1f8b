"""What every part of a running system has at one moment: memory, file descriptors, and keys in Redis."""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from time import monotonic

import psutil
import redis

from benchmarks.chaos.world import World
from contract import keys
from contract.procfs import private_bytes
from tests.support.invariants import BROKER

PARTS = ("api", "worker", "beat", "host", "zygote", "livekit", "redis")
FAMILY = re.compile(r"^(session|turns|measured|idem|reply|limit|user|host|lock|breaker)(?=:)")
"""Keys of which there are many."""
FOR_AN_HOUR = ("turns:", "measured:")
"""Of each call, and longer than a run."""
UP_TO_A_NUMBER = re.compile(
    r"^(stats:(samples|startRecent|vacancies|callRecent|spawnRecent|refillRecent)|host:.*:commands)"
)
"""As long as ``contract.keys`` says that they get, which is later than a run's end."""
MIB = 2**20


@dataclass
class Sample:
    """One look. ``memory`` is in MiB by series, ``files`` in file descriptors by part, ``keys`` by family."""

    at_s: float
    memory: dict[str, float] = field(default_factory=dict)
    files: dict[str, int] = field(default_factory=dict)
    keys: dict[str, int] = field(default_factory=dict)
    agents: int = 0


class Sampler:
    """Looks at one system whose parts stay the same processes all the while."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._began_at = monotonic()
        self._pids = {part: world.pid_of(part) for part in PARTS}

    def replaced(self) -> list[str]:
        """Parts that are not the processes that they were at the beginning."""
        return [
            part for part, pid in self._pids.items() if not psutil.pid_exists(pid) or self._world.has_new(part, pid)
        ]

    def look(self) -> Sample:
        """Take a sample: most of half a second of a processor with 60 agents."""
        sample = Sample(monotonic() - self._began_at)
        for part, pid in self._pids.items():
            self._add(sample, part, [pid])
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self._pids["worker"]).children()
            self._add(sample, "worker's children", [child.pid for child in children])
        with self._world.store() as store:
            self._add_agents(sample, store)
            self._add_redis(sample, store)
        return sample

    def _add(self, sample: Sample, series: str, pids: Iterable[int]) -> None:
        sample.memory[series], sample.files[series] = 0.0, 0
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                sample.memory[series] += psutil.Process(pid).memory_info().rss / MIB
                sample.files[series] += _files(pid)

    def _add_agents(self, sample: Sample, store: redis.Redis) -> None:
        """Pages that agents share with the zygote are the zygote's."""
        waiting = store.smembers(keys.POOL_READY)
        pids = {int(store.hget(keys.session(session_id), "agentPid") or 0) for session_id in waiting}
        private = {pid: private_bytes(pid) / MIB for pid in pids}
        sample.agents = len(private)
        sample.memory["a waiting agent"] = median(filter(None, private.values()))
        sample.files["a waiting agent"] = int(median(filter(None, map(_files, private))))

    def _add_redis(self, sample: Sample, store: redis.Redis) -> None:
        """What is kept of a call for an hour, or up to a number, grows in any run: it is told apart from the rest.

        The process has its program, and pages that are partly free, beside its data.
        """
        counts: Counter[str] = Counter()
        with store.pipeline(transaction=False) as pipe:
            for key in store.scan_iter(count=1000):
                counts[family(key)] += 1
                if key.startswith(FOR_AN_HOUR) or UP_TO_A_NUMBER.match(key):
                    pipe.memory_usage(key, samples=0)
            kept = sum(filter(None, pipe.execute()))
        sample.keys = dict(counts)
        used = store.info("memory")["used_memory"]
        sample.memory["Redis's data, without those"] = (used - kept) / MIB
        sample.memory["kept of calls in Redis"] = kept / MIB
        sample.memory["Redis, beside its data"] = sample.memory["redis"] - used / MIB


def family(key: str) -> str:
    """What a key is counted as."""
    if key.startswith(BROKER):
        return "broker"
    many = FAMILY.match(key)
    return f"{many[1]}:" if many else "single keys"


def _files(pid: int) -> int:
    with contextlib.suppress(OSError):
        return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
    return 0
