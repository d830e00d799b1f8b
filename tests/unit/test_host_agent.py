"""One agent as its host sees it: whoever waits for it hears of it, whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from contract.messages import AnyMessage, Assign, Assigned, Assignment, Hello, Ping, Pong, parse_line
from contract.states import SessionState
from orchestrator.host.agent import Agent, AgentGoneError
from orchestrator.host.processes import ProcessId
from tests.support.records import warm_id

SOON_S = 0.05
LONG_S = 30.0


class FakeWriter:
    """Keeps what was written; answers it when told how."""

    def __init__(self) -> None:
        self.sent: list[AnyMessage] = []
        self.closing = False

    def is_closing(self) -> bool:
        return self.closing

    def write(self, line: bytes) -> None:
        self.sent.append(parse_line(line))


def make_agent(*, hearsay: bool = False) -> tuple[Agent, FakeWriter]:
    """Known from its fork, or (``hearsay``) from an earlier daemon's note, and not heard yet."""
    agent = Agent(warm_id(1), ProcessId(4242, 99), None, 1.0, hearsay=hearsay)
    writer = FakeWriter()
    if hearsay:
        agent.writer = writer  # type: ignore[assignment]
        agent._line.set()
    else:
        agent.attach(hello("joining"), writer)  # type: ignore[arg-type]
    return agent, writer


def assignment(fence: int = 7) -> Assignment:
    return Assignment(session_id=warm_id(1), fence=fence, user_id="user-1")


def hello(phase: str, held: Assignment | None = None) -> Hello:
    return Hello(
        session_id=warm_id(1), pid=4242, start_ticks=99, phase=phase, created_at=1.0, startup_s=0.2, assignment=held
    )


async def until_sent(writer: FakeWriter, count: int = 1) -> None:
    async with asyncio.timeout(LONG_S):
        while len(writer.sent) < count:
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    ("phase", "state"),
    [("ready", SessionState.READY), ("assigned", SessionState.ASSIGNED), ("active", SessionState.ACTIVE)],
)
async def test_what_the_store_is_told_is_what_the_agent_says(phase: str, state: SessionState) -> None:
    """Where an earlier daemon handed it over: it is all that this one has, and the store is told that it is no more."""
    agent, writer = make_agent(hearsay=True)
    agent.attach(hello(phase, assignment()), writer)  # type: ignore[arg-type]

    record = agent.record("host-1", "boot-1")

    assert record is not None
    assert record.state is state
    assert (record.identity.pid, record.identity.start_ticks) == (4242, 99)
    assert record.assignment == assignment()
    assert record.hearsay
    assert agent.ready.done()


@pytest.mark.parametrize("phase", ["ready", "assigned", "active"])
async def test_one_that_says_it_is_somebodys_is_nobodys(phase: str) -> None:
    """It was handed to nobody, and its host knows."""
    agent, writer = make_agent()
    agent.attach(hello(phase, assignment(2**53 - 1)), writer)  # type: ignore[arg-type]
    record = agent.record("host-1", "boot-1")
    assert record is not None
    assert (record.state, record.assignment) == (SessionState.READY, None)


@pytest.mark.parametrize("hearsay", [False, True])
@pytest.mark.parametrize("phase", ["joining", "ready", "assigned", "active"])
async def test_one_that_was_handed_over_cannot_say_to_whom(phase: str, hearsay: bool) -> None:
    agent, writer = make_agent(hearsay=hearsay)
    waiting = asyncio.create_task(agent.assign(assignment(), LONG_S))
    await until_sent(writer)
    agent.acknowledged(Assigned(fence=7, accepted=True))
    await waiting

    invented = Assignment(session_id=warm_id(1), fence=2**53 - 1, user_id="victim-user")
    agent.attach(hello(phase, invented), writer)  # type: ignore[arg-type]

    record = agent.record("host-1", "boot-1")
    assert record is not None
    assert (record.assignment, record.hearsay) == (assignment(), False)
    assert record.state is (SessionState.ACTIVE if phase == "active" else SessionState.ASSIGNED)


async def test_what_one_says_first_after_a_restart_is_all_that_it_may_say() -> None:
    agent, writer = make_agent(hearsay=True)
    agent.attach(hello("ready"), writer)  # type: ignore[arg-type]
    agent.attach(hello("assigned", assignment()), writer)  # type: ignore[arg-type]
    assert agent.assignment is None

    agent, writer = make_agent(hearsay=True)
    agent.attach(hello("assigned", assignment(7)), writer)  # type: ignore[arg-type]
    agent.attach(hello("assigned", assignment(8)), writer)  # type: ignore[arg-type]
    assert agent.assignment == assignment(7)


async def test_one_that_is_given_up_is_not_waited_for() -> None:
    agent, writer = make_agent()
    waiting = asyncio.create_task(agent.assign(assignment(7), LONG_S))
    await until_sent(writer)
    assert agent.is_asked(7)
    agent.give_up_on(8)
    assert agent.is_asked(7)
    agent.give_up_on(7)
    with pytest.raises(AgentGoneError, match="did not acknowledge"):
        await waiting
    assert not agent.is_asked(7)


async def test_an_answer_that_was_lost_with_its_line_is_heard_from_the_next_one() -> None:
    agent, writer = make_agent()
    waiting = asyncio.create_task(agent.assign(assignment(), LONG_S))
    await until_sent(writer)
    said = assignment().model_copy(update={"user_id": "victim-user"})
    agent.attach(hello("active", said), writer)  # type: ignore[arg-type]
    assert (agent.assignment, agent.phase) == (assignment(), "active"), "as its host sent it"
    waiting.cancel()


async def test_what_one_refused_is_not_its_own_later() -> None:
    agent, writer = make_agent()
    waiting = asyncio.create_task(agent.assign(assignment(), LONG_S))
    await until_sent(writer)
    agent.acknowledged(Assigned(fence=7, accepted=False, reason="taken"))
    await waiting
    agent.attach(hello("assigned", assignment()), writer)  # type: ignore[arg-type]
    assert agent.assignment is None


async def test_one_that_joins_is_nothing_to_tell_yet() -> None:
    agent, writer = make_agent()
    agent.attach(hello("joining"), writer)  # type: ignore[arg-type]
    assert agent.record("host-1", "boot-1") is None
    assert not agent.ready.done()
    agent.is_ready(0.3)
    agent.is_ready(0.3)
    assert agent.ready.done()
    assert agent.phase == "ready"


async def test_an_assignment_is_done_when_the_agent_says_so() -> None:
    agent, writer = make_agent()
    waiting = asyncio.create_task(agent.assign(assignment(), LONG_S))
    await until_sent(writer)
    assert writer.sent == [Assign(assignment=assignment())]

    agent.acknowledged(Assigned(fence=6, accepted=True))
    await asyncio.sleep(0)
    assert not waiting.done(), "that was another claim's"
    agent.acknowledged(Assigned(fence=7, accepted=True))

    assert (await waiting).accepted
    agent.acknowledged(Assigned(fence=7, accepted=True))  # late, twice: nobody waits


async def test_two_who_wait_for_one_claim_both_hear_of_it() -> None:
    agent, writer = make_agent()
    both = [asyncio.create_task(agent.assign(assignment(), LONG_S)) for _ in range(2)]
    await until_sent(writer, 2)
    agent.acknowledged(Assigned(fence=7, accepted=True))
    assert [answer.accepted for answer in await asyncio.gather(*both)] == [True, True]


async def test_an_agent_that_says_nothing_is_gone() -> None:
    agent, _ = make_agent()
    with pytest.raises(AgentGoneError, match="did not acknowledge"):
        await agent.assign(assignment(), SOON_S)
    assert agent._acks == {}, "nothing is kept for it"


@pytest.mark.parametrize("broken", ["no line", "closing", "dead"])
async def test_without_a_line_there_is_nobody_to_ask(broken: str) -> None:
    agent, writer = make_agent()
    if broken == "no line":
        agent.detach(writer)  # type: ignore[arg-type]
    elif broken == "closing":
        writer.closing = True
    else:
        agent.died("killed")
    with pytest.raises(AgentGoneError, match="no line"):
        await agent.assign(assignment(), SOON_S if broken == "no line" else LONG_S)
    assert agent._acks == {}


async def test_an_agent_whose_line_comes_a_moment_later_is_asked_then() -> None:
    """The host has restarted, and a claim was quicker than its agents."""
    agent, older = make_agent()
    agent.detach(older)  # type: ignore[arg-type]
    assigned, pinged = asyncio.create_task(agent.assign(assignment(), LONG_S)), asyncio.create_task(agent.ping(LONG_S))
    await asyncio.sleep(0)
    newer = FakeWriter()
    agent.attach(hello("ready"), newer)  # type: ignore[arg-type]
    agent.detach(older)  # type: ignore[arg-type]

    await until_sent(newer, 2)
    agent.acknowledged(Assigned(fence=7, accepted=True))
    agent.ponged(Pong(seq=1, in_room=True))

    assert (await assigned).accepted
    assert await pinged
    assert older.sent == []


async def test_a_death_ends_the_wait_for_a_line() -> None:
    agent, writer = make_agent()
    agent.detach(writer)  # type: ignore[arg-type]
    assigned, pinged = asyncio.create_task(agent.assign(assignment(), LONG_S)), asyncio.create_task(agent.ping(LONG_S))
    await asyncio.sleep(0)
    agent.died("killed")
    with pytest.raises(AgentGoneError):
        await assigned
    assert not await pinged


async def test_a_death_is_heard_by_all_who_wait() -> None:
    agent, writer = make_agent()
    assigned = asyncio.create_task(agent.assign(assignment(), LONG_S))
    joined = asyncio.ensure_future(agent.ready)
    await until_sent(writer)

    agent.died("the agent process died (SIGKILL)")

    for waiting in (assigned, joined):
        with pytest.raises(AgentGoneError, match="SIGKILL"):
            await waiting
    assert agent.dead.is_set()


async def test_a_ping_is_answered_in_its_own_order() -> None:
    agent, writer = make_agent()
    first = asyncio.create_task(agent.ping(LONG_S))
    second = asyncio.create_task(agent.ping(LONG_S))
    await until_sent(writer, 2)
    assert writer.sent == [Ping(seq=1), Ping(seq=2)]
    agent.ponged(Pong(seq=2, in_room=True))
    agent.ponged(Pong(seq=1, in_room=False))
    agent.ponged(Pong(seq=9, in_room=True))
    assert await asyncio.gather(first, second) == [False, True]


async def test_no_answer_to_a_ping_is_no() -> None:
    agent, writer = make_agent()
    assert not await agent.ping(SOON_S)
    writer.closing = True
    assert not await agent.ping(LONG_S)
    assert agent._pongs == {}
