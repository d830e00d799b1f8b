"""What a host measures of its machine and of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from contract.procfs import start_ticks
from orchestrator.domain.capacity import CapacityPolicy
from orchestrator.host import machine as module
from orchestrator.host.machine import Machine, processor_s, processors
from orchestrator.host.processes import ProcessId

POLICY = CapacityPolicy(max_agents=50, memory_reserve_bytes=0, agent_memory_bytes=1)
GONE = ProcessId(2**22 + 1, 1)
BUSY = """
import time
kept = bytearray(b"x" * 30_000_000)
while time.process_time() < 0.5: pass
print(flush=True)
time.sleep(600)
"""


@pytest.fixture
def busy() -> Iterator[ProcessId]:
    """A process that has used half a second and holds 30 MB."""
    with subprocess.Popen([sys.executable, "-c", BUSY], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        yield ProcessId(process.pid, start_ticks(process.pid))
        process.kill()


def test_processor_seconds_of_a_process(busy: ProcessId) -> None:
    used = processor_s(busy)
    assert used is not None
    assert used >= 0.45
    assert processor_s(GONE) is None


def test_an_agent_in_a_call_counts_from_the_second_look(busy: ProcessId) -> None:
    machine = Machine(POLICY)
    machine.measure({busy: 0, GONE: 0}, [busy, GONE], now=100.0)
    assert machine.agent_private_bytes >= 15_000_000, "the mean, with one that is gone"
    assert machine.call_private_bytes is None
    assert machine.call_use.call_s == 0
    machine.measure({busy: 0}, [busy], now=110.0)
    assert machine.call_private_bytes is not None
    assert machine.call_private_bytes >= 30_000_000
    assert machine.call_use.call_s == pytest.approx(10)
    assert machine.call_use.processor_s < 1, "what it used before the first look is not this call's"
    machine.measure({}, [], now=120.0)
    assert machine.call_private_bytes >= 30_000_000, "what was measured is kept when the call has ended"
    assert machine.agent_private_bytes == 0


@pytest.mark.parametrize("said", [10**15, 10**400])
def test_what_a_hidden_one_says_of_itself_counts_up_to_what_the_kernel_tells(
    busy: ProcessId, said: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "private_bytes", lambda _: 0)
    machine = Machine(POLICY)
    machine.measure({busy: 20_000_000}, [busy], now=100.0)
    assert machine.agent_private_bytes == 20_000_000
    machine.measure({busy: said, GONE: said}, [busy], now=110.0)
    assert machine.call_private_bytes is not None
    assert 30_000_000 <= machine.call_private_bytes < 100_000_000
    assert machine.capacity(1).agents > 1


def test_capacity_is_of_this_machine() -> None:
    found = Machine(CapacityPolicy(10**9, memory_reserve_bytes=0, agent_memory_bytes=2**20)).capacity(0)
    assert found.limit == "memory"
    assert found.agents > 0
    everything = Machine(CapacityPolicy(50, memory_reserve_bytes=2**60, agent_memory_bytes=1)).capacity(3)
    assert (everything.agents, everything.limit) == (3, "memory")


@pytest.mark.parametrize(
    ("limit", "expected"), [("max 100000", None), ("5000 100000", 0.05), ("100000000 100000", None), ("?", None)]
)
def test_a_containers_processors(tmp_path: Path, limit: str, expected: float | None) -> None:
    (tmp_path / "cpu.max").write_text(limit + "\n")
    assert processors(tmp_path) == (expected or len(os.sched_getaffinity(0)))
    assert processors(tmp_path / "nowhere") == len(os.sched_getaffinity(0))
