"""Stand-ins for what a service talks to: they record what they were asked and answer what the test says."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import fakeredis

from contract.keys import DEFAULT_KIND
from contract.messages import Checked, Spawn, Spawned
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import GreenroomError
from orchestrator.domain.hosts import LossPolicy
from orchestrator.records import HostReply, ReplaceRule
from orchestrator.services.pool import KeepPool, ReapAges
from orchestrator.services.replace import ReplaceAgents
from tests.support.records import LIMITS


def fake_client() -> Client:
    """An empty Redis in this process."""
    return fakeredis.FakeAsyncRedis(server=fakeredis.FakeServer(), decode_responses=True)


@dataclass
class FakeTaskQueue:
    spawned: list[tuple[str, bool]] = field(default_factory=list)
    """Session ids, and whether urgent."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Of the agents that were asked for, by session id."""
    refills: int = 0
    later: list[float] = field(default_factory=list)
    """Refills for later, in seconds."""
    checked: list[str] = field(default_factory=list)

    error: GreenroomError | None = None

    async def spawn(self, session_id: str, *, urgent: bool, kind: str = DEFAULT_KIND) -> None:
        if self.error is not None:
            raise self.error
        self.spawned.append((session_id, urgent))
        self.kinds[session_id] = kind

    async def refill(self, *, delay_s: float = 0.0) -> None:
        if delay_s:
            self.later.append(delay_s)
        else:
            self.refills += 1

    async def check_host(self, host: str) -> None:
        self.checked.append(host)


@dataclass
class FakeHosts:
    """Answers claims with these replies, one after another; then with silence."""

    heard: bool = False
    """Whether its heartbeats come."""
    replies: list[HostReply | None] = field(default_factory=list)
    meanwhile: Callable[[], Awaitable[object]] | None = None
    """What happens while an answer is waited for."""
    lines: list[Mapping[str, object]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    logs_asked: list[tuple[str, str, int]] = field(default_factory=list)

    async def acknowledged(self, reply_id: str, timeout_s: float) -> HostReply | None:
        self.asked.append(reply_id)
        if self.meanwhile is not None:
            await self.meanwhile()
        return self.replies.pop(0) if self.replies else None

    async def is_heard(self, host: str, within_s: float) -> bool:
        return self.heard

    async def logs(self, host: str, session_id: str, limit: int) -> list[Mapping[str, object]]:
        self.logs_asked.append((host, session_id, limit))
        return self.lines


@dataclass
class FakeRooms:
    made: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    sids: dict[str, str] = field(default_factory=dict)
    """Of the rooms that are open, by name."""
    error: GreenroomError | None = None

    async def create(self, room: str) -> None:
        if self.error is not None:
            raise self.error
        self.made.append(room)

    async def delete(self, room: str) -> None:
        self.deleted.append(room)

    async def sid(self, room: str) -> str | None:
        if self.error is not None:
            raise self.error
        return self.sids.get(room)

    async def ping(self) -> None:
        if self.error is not None:
            raise self.error


@dataclass
class FakeLocalHost:
    """Answers spawns with these outcomes, one after another (an error is raised)."""

    outcomes: list[Spawned | GreenroomError] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    asked: list[Spawn] = field(default_factory=list)

    async def spawn(self, request: Spawn) -> Spawned:
        self.asked.append(request)
        outcome = self.outcomes.pop(0)
        if isinstance(outcome, GreenroomError):
            raise outcome
        return outcome

    async def check(self) -> Checked:
        return Checked(agents=1, ended=self.ended)


def replacer(
    store: RedisStore, hosts: RedisHosts, queue: FakeTaskQueue, *, most: int = 2, lost_s: float = 10
) -> ReplaceAgents:
    """The service over these, with the tests' limits."""
    pool = KeepPool(store, hosts, queue, LIMITS, ReapAges(60, 60, 60, 60), default_target=3)
    rule, loss = ReplaceRule(most), LossPolicy(lost_s)
    return ReplaceAgents(store, hosts, queue, pool, rule=rule, loss=loss, spawn_deadline_s=LIMITS.spawn_deadline_s)
