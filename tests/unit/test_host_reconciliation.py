"""What a host does where the store and the agents that run here do not agree."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest

from contract.states import SessionState
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.host.reconciliation import Reconciliation
from orchestrator.records import AgentIdentity
from tests.support.records import identity, warm_id

LEASE_S = 30.0
NOW = 1000.0


@dataclass
class Known:
    """The store, the agents of this host and its deaths, as far as a round reaches."""

    sessions: dict[str, SimpleNamespace] = field(default_factory=dict)
    here: list[SimpleNamespace] = field(default_factory=list)
    is_away: bool = False
    reconciled: list[str] = field(default_factory=list)
    finished: list[tuple[str, SessionState, str, tuple[SessionState, ...]]] = field(default_factory=list)
    reported: list[tuple[str, AgentIdentity]] = field(default_factory=list)
    is_asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once the store was asked whose sessions these are."""

    def all(self) -> list[SimpleNamespace]:
        return list(self.here)

    async def reconcile(self, agent: SimpleNamespace) -> bool:
        self.reconciled.append(agent.session_id)
        return True

    async def owned_by(self, host: str) -> list[str]:
        self.is_asked.set()
        self._ask()
        return [i for i, session in self.sessions.items() if session.host == host]

    def _ask(self) -> None:
        if self.is_away:
            raise StoreUnavailableError

    async def now(self) -> float:
        return NOW

    async def finish(
        self, session_id: str, to: SessionState, reason: str, *, only_from: tuple[SessionState, ...]
    ) -> None:
        self.finished.append((session_id, to, reason, only_from))

    def lost(self, session_id: str, agent: AgentIdentity) -> None:
        self.reported.append((session_id, agent))

    def agent_here(self, session_id: str) -> SimpleNamespace | None:
        return next((agent for agent in self.here if agent.session_id == session_id), None)

    async def session(self, session_id: str) -> SimpleNamespace | None:
        self._ask()
        return self.sessions.get(session_id)


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def reconciliation(known: Known) -> Reconciliation:
    agents: Any = SimpleNamespace(all=known.all, reconcile=known.reconcile, get=known.agent_here)
    store: Any = SimpleNamespace(owned_by=known.owned_by, get=known.session, now=known.now, finish=known.finish)
    deaths: Any = known
    return Reconciliation("h1", agents, store, deaths, every_s=0.0, assign_lease_s=LEASE_S)


def session(state: SessionState = SessionState.ASSIGNED, **fields: Any) -> SimpleNamespace:
    defaults = {"host": "h1", "state": state, "assigned_at": None, "token_at": None, "agent": identity("h1")}
    return SimpleNamespace(**(defaults | fields))


def agent(number: int = 1, phase: str = "assigned", ending: str | None = None) -> SimpleNamespace:
    return SimpleNamespace(session_id=warm_id(number), phase=phase, ending=ending)


async def test_no_round_is_made_until_the_store_heard_this_daemon(known: Known, reconciliation: Reconciliation) -> None:
    """What is missing here may run on another machine."""
    entered = asyncio.Event()
    running = asyncio.ensure_future(reconciliation.run(entered))
    for _ in range(20):
        await asyncio.sleep(0)
    assert not known.is_asked.is_set()
    entered.set()
    async with asyncio.timeout(10):
        await known.is_asked.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_one_that_is_missing_once_may_be_on_its_way(known: Known, reconciliation: Reconciliation) -> None:
    known.sessions[warm_id(1)] = session()
    await reconciliation.report_missing()
    known.here.append(agent())
    await reconciliation.report_missing()
    known.here.clear()
    await reconciliation.report_missing()
    assert known.reported == []


async def test_one_that_is_missing_twice_in_a_row_is_lost(known: Known, reconciliation: Reconciliation) -> None:
    known.sessions |= {warm_id(1): session(), warm_id(2): session(host="h2"), warm_id(3): session(agent=None)}
    await reconciliation.report_missing()
    await reconciliation.report_missing()
    assert known.reported == [(warm_id(1), identity("h1"))]


@pytest.mark.parametrize(
    ("assigned_at", "token_at", "is_over"),
    [
        (NOW - LEASE_S - 1, None, True),
        (NOW - LEASE_S + 1, None, False),
        (NOW - LEASE_S - 1, NOW - 1, False),
        (NOW - 90, NOW - LEASE_S - 1, True),
    ],
    ids=["claimed long ago", "claimed of late", "its token is fresh", "its token is old too"],
)
async def test_a_session_that_nobody_joins_is_over_after_its_lease(
    known: Known, reconciliation: Reconciliation, assigned_at: float, token_at: float | None, is_over: bool
) -> None:
    known.here.append(agent())
    known.sessions[warm_id(1)] = session(assigned_at=assigned_at, token_at=token_at)
    await reconciliation.reconcile_agents()
    over = (warm_id(1), SessionState.ENDED, "nobody joined in time", (SessionState.ASSIGNED,))
    assert known.finished == ([over] if is_over else [])
    assert known.reconciled == [warm_id(1)]


@pytest.mark.parametrize(
    ("here", "state"),
    [
        (agent(phase="active"), SessionState.ASSIGNED),
        (agent(phase="ready"), SessionState.ASSIGNED),
        (agent(ending="its user left"), SessionState.ASSIGNED),
        (agent(), SessionState.ACTIVE),
        (agent(), SessionState.ENDED),
    ],
)
async def test_one_that_has_its_user_or_ends_is_left_alone(
    known: Known, reconciliation: Reconciliation, here: SimpleNamespace, state: SessionState
) -> None:
    known.here.append(here)
    known.sessions[warm_id(1)] = session(state, assigned_at=1.0)
    await reconciliation.reconcile_agents()
    assert known.finished == []


async def test_what_the_store_cannot_say_now_it_says_later(known: Known, reconciliation: Reconciliation) -> None:
    known.here += [agent(1), agent(2)]
    known.sessions |= {warm_id(1): session(assigned_at=1.0), warm_id(2): session(assigned_at=1.0)}
    known.is_away = True
    await reconciliation.reconcile_agents()
    assert known.reconciled == [warm_id(1), warm_id(2)]
    assert known.finished == []
    known.is_away = False
    await reconciliation.reconcile_agents()
    assert [done[0] for done in known.finished] == [warm_id(1), warm_id(2)]
