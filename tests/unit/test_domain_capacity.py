"""How many agents a machine can have: known machines, and what holds of all."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.domain.capacity import (
    ENOUGH_CALL_S,
    HALF_LIFE_CALL_S,
    CallUse,
    CapacityPolicy,
    MachineUse,
    capacity,
)

MIB = 2**20
POLICY = CapacityPolicy(max_agents=50, memory_reserve_bytes=512 * MIB, agent_memory_bytes=40 * MIB)
IDLE = MachineUse(
    agents=0, memory_available_bytes=20_000 * MIB, agent_private_bytes=0, call_private_bytes=None, processors=2
)
ASSUMED = "512 MiB in reserve, 40 MiB for an agent in a call (assumed)"
TALKING = CallUse(processor_s=100.0, call_s=1000.0)

uses = st.builds(
    MachineUse,
    agents=st.integers(0, 300),
    memory_available_bytes=st.integers(0, 2**36),
    agent_private_bytes=st.integers(0, 2**28),
    call_private_bytes=st.none() | st.integers(0, 2**30),
    processors=st.floats(0.1, 64),
    call_use=st.builds(CallUse, st.floats(0, 5000), st.floats(0, 5000)),
)
policies = st.builds(
    CapacityPolicy,
    max_agents=st.integers(1, 300),
    memory_reserve_bytes=st.integers(0, 2**33),
    agent_memory_bytes=st.integers(1, 2**30),
)


@pytest.mark.parametrize(
    ("use", "agents", "reason"),
    [
        pytest.param(IDLE, 50, "MAX_BOTS is 50", id="a large machine"),
        pytest.param(
            replace(IDLE, memory_available_bytes=912 * MIB), 10,
            f"memory: 912 MiB available, {ASSUMED}", id="little memory",
        ),
        pytest.param(
            replace(IDLE, agents=4, memory_available_bytes=912 * MIB, agent_private_bytes=30 * MIB), 13,
            f"memory: 912 MiB available, {ASSUMED}",
            id="those that wait have 10 MiB each to grow",
        ),
        pytest.param(
            replace(IDLE, memory_available_bytes=912 * MIB, call_private_bytes=20 * MIB), 20,
            "memory: 912 MiB available, 512 MiB in reserve, 20 MiB for an agent in a call", id="as measured",
        ),
        pytest.param(
            replace(IDLE, agents=7, memory_available_bytes=100 * MIB), 7,
            f"memory: 100 MiB available, {ASSUMED}",
            id="into the reserve: those that are stay, and none comes",
        ),
        pytest.param(
            replace(IDLE, call_use=TALKING), 16,
            "processors: 2, 80% for agents, 0.1 for one in a call", id="busy calls",
        ),
        pytest.param(
            replace(IDLE, processors=0.5, call_use=CallUse(2000, 1000)), 1,
            "processors: 0.5, 80% for agents, 2 for one in a call", id="one at least",
        ),
        pytest.param(replace(IDLE, call_use=CallUse(29, 299)), 50, "MAX_BOTS is 50", id="too little was measured"),
    ],
)  # fmt: skip
def test_known_machines(use: MachineUse, agents: int, reason: str) -> None:
    found = capacity(use, POLICY)
    assert (found.agents, found.reason) == (agents, reason)
    assert found.reason.startswith(found.limit)


@pytest.mark.parametrize(("share", "agents"), [(0.4, 8), (2.0, 40), (0.0, 50)])
def test_how_much_of_the_processors_is_for_agents_can_be_set(share: float, agents: int) -> None:
    use = replace(IDLE, call_use=TALKING)
    assert capacity(use, replace(POLICY, processor_share=share)).agents == agents


@given(use=uses, policy=policies)
def test_within_its_bounds(use: MachineUse, policy: CapacityPolicy) -> None:
    found = capacity(use, policy)
    assert 0 <= found.agents <= policy.max_agents
    if found.agents > use.agents:
        each = use.call_private_bytes if use.call_private_bytes is not None else policy.agent_memory_bytes
        taken = (found.agents - use.agents) * each
        assert taken <= use.memory_available_bytes - policy.memory_reserve_bytes, "the reserve stays free"


@given(use=uses, policy=policies, more=st.integers(0, 2**34))
def test_more_memory_is_never_less_room(use: MachineUse, policy: CapacityPolicy, more: int) -> None:
    roomier = replace(use, memory_available_bytes=use.memory_available_bytes + more)
    assert capacity(roomier, policy).agents >= capacity(use, policy).agents


@given(use=uses, policy=policies, more=st.floats(0, 64))
def test_more_processors_are_never_less_room(use: MachineUse, policy: CapacityPolicy, more: float) -> None:
    assert (
        capacity(replace(use, processors=use.processors + more), policy).agents >= capacity(use, policy).agents
    )  # fmt: skip


@given(use=uses, policy=policies)
def test_memory_alone_never_puts_out_those_that_are(use: MachineUse, policy: CapacityPolicy) -> None:
    found = capacity(use, policy)
    assert found.limit != "memory" or found.agents >= use.agents


@given(steps=st.lists(st.tuples(st.floats(0, 1), st.floats(1, 100)), max_size=60))
def test_the_share_of_one_call_is_between_the_least_and_the_most_seen(steps: list[tuple[float, float]]) -> None:
    use = CallUse()
    for share, call_s in steps:
        use = use.and_then(share * call_s, call_s)
    if use.share is not None:
        assert use.call_s >= ENOUGH_CALL_S
        assert min(s for s, _ in steps) - 1e-9 <= use.share <= max(s for s, _ in steps) + 1e-9


def test_what_calls_used_long_ago_counts_less() -> None:
    use = CallUse().and_then(1000, 1000).and_then(0, HALF_LIFE_CALL_S)
    assert use.processor_s == pytest.approx(500)
