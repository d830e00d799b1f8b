"""What tests of the store and the services are made of: requests, agents, hosts and limits with fitting values."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Any

from contract.messages import Assignment
from contract.states import SessionState
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.records import AgentIdentity, AgentRecord, Claimed, HostReport, Limits, StartRequest

LIMITS = Limits(max_agents=10, max_queue=3, spawn_concurrency=4, spawn_deadline_s=20.0)
HOST = "host-1"

_numbers = itertools.count(1)


def warm_id(number: int) -> str:
    return f"prewarm_{number:032x}"


def cold_id(number: int) -> str:
    return f"session_1763712000123_{number:032x}"


def start_request(
    key: str | None = None, *, user: str = "user-1", body: str = "body", keep_s: float = 60
) -> StartRequest:
    """A start of one user; without a key, one of its own."""
    return StartRequest(
        assignment={"user_id": user, "user_name": "Ada", "metadata": {"n": 1}},
        user_id=user,
        user_name="Ada",
        request_key=key or f"key-{next(_numbers)}",
        body_digest=body,
        keep_s=keep_s,
    )


def identity(host: str = HOST, pid: int = 4242) -> AgentIdentity:
    return AgentIdentity(host, "boot-1", pid, 1000 + pid)


def agent_record(
    session_id: str,
    state: SessionState = SessionState.READY,
    *,
    who: AgentIdentity | None = None,
    fence: int = 77,
    user: str = "user-9",
    startup_s: float | None = 0.12,
    hearsay: bool = False,
) -> AgentRecord:
    """What a host says of an agent; one that is not ready has an assignment."""
    held = Assignment(session_id=session_id, fence=fence, user_id=user, user_name="Eve")
    assignment = None if state is SessionState.READY else held
    return AgentRecord(session_id, who or identity(), state, 1000.5, startup_s, assignment, hearsay=hearsay)


def host_report(host: str = HOST) -> HostReport:
    return HostReport(
        host=host, boot_id="boot-1", started_at=1.0, agents=2, warm=1, capacity=1000,
        memory_total_bytes=2**34, memory_available_bytes=2**33, agent_private_bytes=11_000_000,
        zygote="ready", version="0.1.0", load1=0.5, cpus=8,
    )  # fmt: skip


async def beat(hosts: RedisHosts, host: str = HOST, *, lease_s: float = 60, **more: Any) -> None:
    await hosts.heartbeat(replace(host_report(), host=host, **more), lease_s)


async def warm(store: RedisStore, *numbers: int, host: str = HOST) -> list[str]:
    """Agents that came into the pool."""
    ids = [warm_id(number) for number in numbers]
    for number, session_id in zip(numbers, ids, strict=True):
        await store.record_agent(agent_record(session_id, who=identity(host, pid=number)))
    return ids


async def claimed(store: RedisStore, key: str | None = None, *, user: str = "user-1", reply: str = "r") -> Claimed:
    outcome = await store.claim(start_request(key, user=user), reply)
    assert isinstance(outcome, Claimed)
    return outcome
