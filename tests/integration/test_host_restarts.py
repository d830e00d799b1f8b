"""Calls survive: the daemon and Redis are killed, stopped and started again around living agents."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from contract.messages import Spawn
from contract.states import SessionState
from orchestrator.services.start import Handed
from tests.support.records import start_request, warm_id
from tests.support.stack import Backend, Stack, eventually, is_running, pause, running_stack

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    with running_stack(aof=True, ACK_TIMEOUT_S="1.5", PREWARM_POOL_SIZE="0") as stack:
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    if stack.host.has_ended:
        stack.start_host()
    async with stack.container() as backend:
        yield backend
        if stack.host.has_ended:
            stack.start_host(ready=False)
        live = await backend.store.page([s for s in SessionState if s not in ("ended", "failed")], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))
        assert stack.agent_pids() == set()
        stack.all_reaped()
        assert await backend.rooms_left() == []


async def _lease_is_fresh(backend: Backend) -> None:
    async def fresh() -> bool:
        return any(host.alive for host in await backend.container.hosts.hosts())

    await eventually(fresh, what="the host's lease is fresh")


async def test_agents_outlive_a_killed_daemon_and_the_next_one_takes_them_up(backend: Backend, stack: Stack) -> None:
    warm, assigned = await backend.warm_and_assigned(1)
    pids = stack.agent_pids()
    before = await backend.store.get(assigned)

    stack.host.kill()
    stack.start_host(ready=False)

    await _lease_is_fresh(backend)
    assert await backend.pool_has(1) == {warm}

    async def all_answer() -> bool:
        checked = await backend.local_host.check()
        return checked.agents == 2 and not checked.ended

    await eventually(all_answer, what="both agents answer the new daemon")
    assert stack.agent_pids() == pids
    assert await backend.store.get(assigned) == before
    handed = await backend.start("user-2")
    assert isinstance(handed, Handed)
    assert handed.session_id == warm
    stack.wait_zygote("ready")
    assert (await backend.spawn(warm_id(3))).ok


async def test_an_agent_that_died_while_its_host_was_down_is_noticed(backend: Backend, stack: Stack) -> None:
    warm, assigned = await backend.warm_and_assigned(11)
    session = await backend.store.get(assigned)
    assert session is not None
    assert session.agent_pid is not None

    stack.host.kill()
    os.kill(session.agent_pid, signal.SIGKILL)
    stack.start_host(ready=False)

    async def lacks_an_agent() -> bool:
        left = await backend.store.get(assigned)
        return left is not None and left.agent is None

    await eventually(lacks_an_agent, what="its death is noticed")
    assert (await backend.spawn(assigned)).ok  # no worker runs here
    after = await backend.session(assigned, SessionState.ASSIGNED)
    assert (after.user_id, after.replacements) == ("user-1", 1)
    assert after.agent not in (None, session.agent)
    assert await backend.pool_has(1) == {warm}


async def test_an_agent_that_hangs_while_its_host_is_down_is_ended(backend: Backend, stack: Stack) -> None:
    """It is stopped before it could open its line again: its death is told all the same."""
    session = await backend.warm(warm_id(21))
    assert session.agent_pid is not None
    stack.host.kill()
    pause(session.agent_pid)

    stack.start_host(ready=False)
    os.kill(session.agent_pid, signal.SIGKILL)

    failed = await backend.session(session.session_id, SessionState.FAILED)
    assert failed.error == "its agent process is gone"
    await backend.room_gone(session.session_id)


async def test_a_note_that_was_lost_or_spoilt_does_not_lose_the_agent(backend: Backend, stack: Stack) -> None:
    lost, spoilt = await backend.warm(warm_id(31)), await backend.warm(warm_id(32))
    agents = stack.home / "host" / "agents"
    stack.host.kill()
    (agents / f"{lost.session_id}.json").unlink()
    note = agents / f"{spoilt.session_id}.json"
    note.write_text(json.dumps(json.loads(note.read_text()) | {"pid": "many"}))

    stack.start_host(ready=False)

    async def both() -> bool:
        return (await backend.local_host.check()).agents == 2

    await eventually(both, what="both opened their lines")
    assert await backend.pool_has(2) == {lost.session_id, spoilt.session_id}
    assert json.loads(note.read_text())["pid"] == spoilt.agent_pid


async def test_a_stopped_daemon_leaves_its_agents_and_hands_out_none(backend: Backend, stack: Stack) -> None:
    session = await backend.warm(warm_id(41))
    assert session.agent_pid is not None

    stack.host.send(signal.SIGTERM)
    assert stack.host.wait() == 0

    assert not stack.socket.exists()
    assert is_running(session.agent_pid)
    assert not any(host.alive for host in await backend.container.hosts.hosts())
    stack.start_host(ready=False)
    await backend.host_answers()
    assert stack.agent_pids() == {session.agent_pid}


async def test_a_retired_daemon_ends_its_agents_and_closes_their_rooms(backend: Backend, stack: Stack) -> None:
    warm, assigned = await backend.warm_and_assigned(51)

    assert (await backend.local_host.retire()).agents == 2
    refused = await backend.local_host.spawn(_spawn_request(53))
    stack.host.send(signal.SIGTERM)
    assert stack.host.wait() == 0

    assert (refused.ok, refused.code) == (False, "host_retiring")
    assert stack.agent_pids() == set()
    assert stack.processes() == []
    for session_id in (warm, assigned):
        ended = await backend.session(session_id, SessionState.ENDED)
        assert ended.end_reason == "the host is stopping"
        assert await backend.room(session_id) is None
    assert await backend.pool() == set()


def _spawn_request(number: int) -> Spawn:

    return Spawn(session_id=warm_id(number), requested_at=time.time(), timeout_s=20)


async def test_a_restarted_redis_changes_nothing(backend: Backend, stack: Stack) -> None:
    warm, assigned = await backend.warm_and_assigned(61)
    pids = stack.agent_pids()

    stack.redis.stop()
    stack.redis.start()

    await _lease_is_fresh(backend)
    assert await backend.pool_has(1) == {warm}
    session = await backend.session(assigned, SessionState.ASSIGNED)
    assert session.user_id == "user-1"
    assert stack.agent_pids() == pids
    handed = await backend.start("user-2")
    assert isinstance(handed, Handed)
    assert handed.session_id == warm


async def test_an_agent_that_is_ready_while_redis_is_away_is_recorded_later(backend: Backend, stack: Stack) -> None:
    session_id = warm_id(71)
    await backend.container.rooms.create(session_id)
    stack.redis.stop()

    outcome = await backend.local_host.spawn(_spawn_request(71))
    assert outcome.ok
    stack.redis.start()

    session = await backend.session(session_id, SessionState.READY)
    assert session.agent_pid == outcome.pid
    assert await backend.pool_has(1) == {session_id}


async def test_a_death_while_redis_is_away_is_told_later(backend: Backend, stack: Stack) -> None:
    session = await backend.warm(warm_id(81))
    assert session.agent_pid is not None
    stack.redis.stop()

    os.kill(session.agent_pid, signal.SIGKILL)
    await backend.gone(session.agent_pid)
    stack.redis.start()

    failed = await backend.session(session.session_id, SessionState.FAILED)
    assert failed.error == "the agent process died (SIGKILL)"
    await backend.room_gone(session.session_id)


async def test_a_claim_that_the_daemon_did_not_hear_reaches_the_agent(backend: Backend, stack: Stack) -> None:
    """The daemon is killed between the claim and the hand-over: its successor hands the agent over."""
    session = await backend.warm(warm_id(91))
    stack.host.kill()
    await backend.store.claim(start_request(user="user-91"), "reply")

    stack.start_host(ready=False)

    async def handed_over() -> bool:
        heard = stack.heartbeat()
        return (heard.get("agents"), heard.get("warm")) == ("1", "0") and stack.is_of(stack.host, heard)

    await eventually(handed_over, what="the agent says that it is not warm any more")
    after = await backend.session(session.session_id, SessionState.ASSIGNED)
    assert (after.user_id, after.agent_pid) == ("user-91", session.agent_pid)


@pytest.mark.parametrize(
    ("number", "setting", "reason"),
    [
        (101, "ASSIGN_LEASE_S", "nobody joined in time"),
        (102, "MAX_CALL_S", "the longest allowed call is over"),
        (103, "INACTIVE_TIMEOUT_S", "inactive"),
    ],
)
async def test_limits_end_a_session_by_themselves(
    stack: Stack, backend: Backend, number: int, setting: str, reason: str
) -> None:
    stack.host.stop()
    stack.start_host(**{setting: "1.5"})
    await backend.warm(warm_id(number))
    handed = await backend.start()
    assert isinstance(handed, Handed)
    session = await backend.store.get(handed.session_id)

    ended = await backend.session(handed.session_id, SessionState.ENDED)

    assert ended.end_reason == reason
    assert session is not None
    assert session.agent_pid is not None
    await backend.gone(session.agent_pid)
    await backend.room_gone(handed.session_id)
    stack.host.stop()


async def test_agents_whose_host_stays_away_end_themselves(stack: Stack, backend: Backend) -> None:
    stack.host.stop()
    stack.start_host(AGENT_ORPHAN_S="1")
    session = await backend.warm(warm_id(111))
    assert session.agent_pid is not None

    stack.host.kill()

    await backend.gone(session.agent_pid)
    assert stack.processes() == []
    stack.start_host(ready=False)
    failed = await backend.session(session.session_id, SessionState.FAILED)
    assert failed.error == "its host is gone"
    await backend.room_gone(session.session_id)


async def test_an_agent_that_is_always_refused_has_no_host(stack: Stack, backend: Backend) -> None:
    """Something else answers on the socket and closes every line at once: the agents do not wait for ever."""
    stack.host.stop()
    stack.start_host(AGENT_ORPHAN_S="1.5")
    session = await backend.warm(warm_id(121))
    assert session.agent_pid is not None
    stack.host.kill()
    stack.socket.unlink()

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b'{"v":1,"type":"refused","reason":"not you"}\n')
        writer.close()

    server = await asyncio.start_unix_server(refuse, str(stack.socket))
    await backend.gone(session.agent_pid)
    server.close()
    await server.wait_closed()
    stack.start_host(ready=False)
    assert (await backend.session(session.session_id, SessionState.FAILED)).error == "its host is gone"
