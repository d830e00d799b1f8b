"""What a host says of its machine with each heartbeat."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from orchestrator.host.daemon import HostDaemon


def test_the_machines_load() -> None:
    daemon: Any = SimpleNamespace(
        _settings=SimpleNamespace(host_id="h1", max_bots=3),
        _agents=SimpleNamespace(all=list),
        _boot_id="boot",
        _started_at=1.0,
        _private_bytes=0,
        _zygote=SimpleNamespace(status="ready"),
        _drain=SimpleNamespace(is_done=False),
    )
    report = HostDaemon._report(daemon)
    assert report.cpus == os.cpu_count()
    assert 0 <= report.load1 < 10_000
