"""What a host says of its machine with each heartbeat."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from orchestrator.domain.capacity import CapacityPolicy
from orchestrator.host.daemon import HostDaemon
from orchestrator.host.machine import Machine


def test_the_machines_load() -> None:
    daemon: Any = SimpleNamespace(
        _settings=SimpleNamespace(host_id="h1"),
        _agents=SimpleNamespace(all=list, count=0),
        _boot_id="boot",
        _instance="home-1",
        _started_at=1.0,
        _machine=Machine(CapacityPolicy(3, memory_reserve_bytes=0, agent_memory_bytes=1)),
        _zygotes=SimpleNamespace(
            status="sales starting",
            statuses={"default": "ready", "sales": "starting", "support": "ready"},
            generations={"default": "1.000", "support": "2.000"},
        ),
        _renewal=SimpleNamespace(rollout="", error=""),
        _drain=SimpleNamespace(is_done=False),
    )
    report = HostDaemon._report(daemon)
    assert report.cpus == os.cpu_count()
    assert 0 <= report.load1 < 10_000
    assert (report.zygote, report.kinds, report.ready_kinds) == (
        "sales starting", "default,sales,support", "default,support",
    )  # fmt: skip
    assert report.instance == "home-1"
    assert report.loading_kinds == "sales"
    assert (report.generation, report.generations) == ("1.000", "support:2.000")
    assert (report.capacity, report.capacity_limit, report.capacity_reason) == (3, "MAX_BOTS", "MAX_BOTS is 3")
