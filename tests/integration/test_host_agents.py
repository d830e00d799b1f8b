"""The host's agents in their rooms: started, claimed, checked, ended. One daemon, without a worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest
from livekit import api

from contract import keys
from contract.messages import Spawn
from contract.states import SessionState
from orchestrator.services.start import Handed, Starting
from tests.support.records import cold_id, start_request, warm_id
from tests.support.servers import LIVEKIT_SECRET, wait_until
from tests.support.stack import ADMIN_TOKEN, HOST_ID, TOP, Backend, Stack, eventually, pause, running_stack

pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    # The test's own acknowledgement limit is generous: a claim is not to fail because the machine is busy.
    with running_stack(ACK_TIMEOUT_S="1.5", PREWARM_POOL_SIZE="0") as stack:
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        yield backend
        live = await backend.store.page([s for s in SessionState if s not in ("ended", "failed")], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))
        assert stack.agent_pids() == set()
        stack.all_reaped()
        assert await backend.rooms_left() == []


async def test_a_spawn_puts_an_agent_into_its_room_and_tells_the_store(backend: Backend, stack: Stack) -> None:
    session = await backend.warm(warm_id(1))

    participants = await backend.participants(session.session_id)
    assert [p.kind for p in participants] == [api.ParticipantInfo.Kind.AGENT]
    record = await backend.container.client.hgetall(keys.session(session.session_id))
    assert record["status"] == "ready"
    assert int(record["agentPid"]) in stack.agent_pids()
    assert record["host"] == HOST_ID
    assert float(record["createdAt"]) > 1_700_000_000
    assert 0 < float(record["startupTime"]) < 30
    assert await backend.pool() == {session.session_id}


async def test_the_room_stays_open_for_as_long_as_its_agent_may_wait(backend: Backend) -> None:
    session = await backend.warm(warm_id(2))

    room = await backend.room(session.session_id)
    assert room is not None
    settings = backend.container.settings
    assert room.empty_timeout > settings.warm_max_age_s, "LiveKit's own is 300 s"
    assert room.departure_timeout > settings.reconnect_grace_s, "LiveKit's own is 20 s"


async def test_spawning_twice_is_spawning_once(backend: Backend, stack: Stack) -> None:
    first = await backend.spawn(warm_id(3))
    again = await backend.spawn(warm_id(3))

    assert (first.ok, again.ok) == (True, True)
    assert first.pid == again.pid
    assert len(stack.agent_pids()) == 1


async def test_one_spawn_asked_for_by_many_at_once_makes_one_agent(backend: Backend, stack: Stack) -> None:
    outcomes = await asyncio.gather(*(backend.spawn(warm_id(4)) for _ in range(5)))

    assert all(outcome.ok for outcome in outcomes), outcomes
    assert len({outcome.pid for outcome in outcomes}) == 1
    assert len(stack.agent_pids()) == 1
    assert len(await backend.participants(warm_id(4))) == 1


async def test_the_zygote_forks_from_one_thread_with_one_descendant_for_each_agent(
    backend: Backend, stack: Stack
) -> None:
    zygote = psutil.Process(stack.zygote_pid())
    assert len(list(Path(f"/proc/{zygote.pid}/task").iterdir())) == 1

    session = await backend.warm(warm_id(5))

    assert [child.pid for child in zygote.children()] == [session.agent_pid]
    assert session.agent_pid is not None
    assert os.getsid(session.agent_pid) == session.agent_pid, "it leads a session of its own"
    assert len(list(Path(f"/proc/{zygote.pid}/task").iterdir())) == 1


async def test_neither_zygote_nor_agent_has_the_orchestrators_secrets(backend: Backend, stack: Stack) -> None:
    session = await backend.warm(warm_id(6))

    for pid in (stack.zygote_pid(), session.agent_pid):
        environment = Path(f"/proc/{pid}/environ").read_bytes().decode()
        names = {line.partition("=")[0] for line in environment.split("\0")}
        assert not names & {"REDIS_URL", "ADMIN_TOKEN", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "JWT_SECRET"}
        assert ADMIN_TOKEN not in environment
        assert LIVEKIT_SECRET not in environment
        assert stack.redis.url not in environment


def test_only_the_owner_may_speak_to_the_socket(stack: Stack) -> None:
    assert stack.socket.stat().st_mode & 0o777 == 0o600
    assert stack.socket.parent.stat().st_mode & 0o777 == 0o700


def test_a_second_daemon_with_the_same_folder_says_so_in_one_line(stack: Stack) -> None:
    argv = [sys.executable, "-m", "orchestrator.host"]
    environment = stack.environment()
    second = subprocess.run(argv, env=environment, cwd=TOP, capture_output=True, text=True, timeout=60, check=False)

    assert second.returncode == 1
    assert second.stderr.strip() == f"greenroom host: another host daemon runs with GREENROOM_HOME={stack.home}"
    assert stack.socket.exists()


async def test_a_killed_agent_leaves_the_pool_with_its_room_and_the_reason_names_the_signal(
    backend: Backend, stack: Stack
) -> None:
    session = await backend.warm(warm_id(7))
    assert session.agent_pid is not None

    os.kill(session.agent_pid, signal.SIGKILL)

    failed = await backend.session(session.session_id, SessionState.FAILED)
    assert failed.error == "the agent process died (SIGKILL)"
    assert failed.error_code == "agent_died"
    assert await backend.pool() == set()
    await backend.room_gone(session.session_id)
    await backend.gone(session.agent_pid)
    stack.all_reaped()


async def test_a_room_that_livekit_closes_ends_its_agent(backend: Backend) -> None:
    session = await backend.warm(warm_id(9))
    assert session.agent_pid is not None

    await backend.livekit.room.delete_room(api.DeleteRoomRequest(room=session.session_id))

    ended = await backend.session(session.session_id, SessionState.ENDED)
    assert ended.end_reason == "the room connection ended (room_deleted)"
    assert await backend.pool() == set()
    await backend.gone(session.agent_pid)


async def test_a_claim_is_acknowledged_by_the_agent_itself(backend: Backend, stack: Stack) -> None:
    session = await backend.warm(warm_id(10))

    outcome = await backend.start("user-7")

    assert isinstance(outcome, Handed)
    assert outcome.session_id == session.session_id
    claimed = await backend.session(session.session_id, SessionState.ASSIGNED)
    assert (claimed.user_id, claimed.agent_pid) == ("user-7", session.agent_pid)
    assert await backend.pool() == set()


async def test_a_claim_of_a_hung_agent_evicts_it_and_takes_the_next(backend: Backend) -> None:
    hung = await backend.warm(warm_id(11))
    assert hung.agent_pid is not None
    pause(hung.agent_pid)
    well = await backend.warm(warm_id(12))
    # Whom a claim takes is by chance: claim until the hung one was met.
    first = await backend.start()
    assert isinstance(first, Handed)
    assert first.session_id == well.session_id
    second = await backend.start("user-2") if first.dead == 0 else first

    evicted = await backend.session(hung.session_id, SessionState.FAILED)
    assert "did not acknowledge" in (evicted.error or "")
    assert evicted.error_code == "agent_unresponsive"
    assert second.dead == 1
    assert isinstance(second, Starting if second is not first else Handed)
    await backend.gone(hung.agent_pid)


async def test_a_health_check_ends_a_hung_agent_and_leaves_the_others(backend: Backend, stack: Stack) -> None:
    hung, well = await backend.warm(warm_id(13)), await backend.warm(warm_id(14))
    assert hung.agent_pid is not None
    pause(hung.agent_pid)

    checked = await backend.local_host.check()

    assert checked.agents == 2
    assert checked.ended == [hung.session_id]
    failed = await backend.session(hung.session_id, SessionState.FAILED)
    assert failed.error_code == "agent_unresponsive"
    await backend.gone(hung.agent_pid)
    await backend.room_gone(hung.session_id)
    assert await backend.pool() == {well.session_id}
    assert (await backend.local_host.check()).ended == []


async def test_an_ended_session_ends_its_agent_and_closes_its_room(backend: Backend) -> None:
    session = await backend.warm(warm_id(15))
    assert session.agent_pid is not None

    await backend.container.sessions.end(session.session_id, "its caller ended it")

    await backend.gone(session.agent_pid)
    await backend.room_gone(session.session_id)
    ended = await backend.session(session.session_id, SessionState.ENDED)
    assert ended.end_reason == "its caller ended it"


async def test_a_session_that_is_ended_while_it_starts_leaves_nothing(backend: Backend, stack: Stack) -> None:
    session_id = cold_id(16)
    await backend.store.reserve_cold(start_request(), session_id, "task", backend.container.limits)
    assert await backend.store.begin_spawn(session_id, 60) == 1
    zygote = stack.zygote_pid()
    pause(zygote)
    try:
        spawn = asyncio.create_task(backend.spawn(session_id))
        await backend.container.sessions.end(session_id, "its caller ended it")
    finally:
        os.kill(zygote, signal.SIGCONT)

    outcome = await spawn
    await backend.room_gone(session_id)

    async def nobody() -> bool:
        return not stack.agent_pids()

    await eventually(nobody, what="no agent is left")
    assert outcome.pid is None or not Path(f"/proc/{outcome.pid}").exists()
    assert await backend.pool() == set()


async def test_a_user_who_waits_gets_the_agent_the_moment_it_is_ready(backend: Backend) -> None:
    session_id = cold_id(17)
    await backend.store.reserve_cold(start_request(user="user-17"), session_id, "task", backend.container.limits)
    await backend.store.begin_spawn(session_id, 60)

    assert (await backend.spawn(session_id)).ok

    session = await backend.session(session_id, SessionState.ASSIGNED)
    assert session.user_id == "user-17"
    assert session.fence > 0
    assert not session.prewarmed
    assert await backend.pool() == set()


async def test_an_emptied_redis_is_filled_again_from_the_processes(backend: Backend, stack: Stack) -> None:
    warm, taken = await backend.warm(warm_id(18)), await backend.warm(warm_id(19))
    handed = await backend.start("user-19")
    assert isinstance(handed, Handed)
    taken, warm = (taken, warm) if handed.session_id == taken.session_id else (warm, taken)
    before = await backend.session(taken.session_id, SessionState.ASSIGNED)

    await backend.container.client.flushall()

    again = await backend.session(warm.session_id, SessionState.READY)
    assert await backend.pool_has(1) == {warm.session_id}
    assert (again.agent_pid, again.host) == (warm.agent_pid, HOST_ID)
    after = await backend.session(taken.session_id, SessionState.ASSIGNED)
    assert (after.user_id, after.fence, after.agent_pid) == ("user-19", before.fence, before.agent_pid)
    assert stack.agent_pids() == {warm.agent_pid, taken.agent_pid}

    async def host_is_known() -> bool:
        return any(host.alive for host in await backend.container.hosts.hosts())

    await eventually(host_is_known, what="the host's lease is fresh again")
    other = await backend.start("user-20")
    assert isinstance(other, Handed)
    newer = await backend.session(other.session_id, SessionState.ASSIGNED)
    assert newer.fence > before.fence, "a fence from before the loss stays the smaller one"


async def test_an_agents_lines_are_kept_by_session(backend: Backend) -> None:
    session = await backend.warm(warm_id(21))

    async def lines() -> list[str]:
        return [str(line.get("message")) for line in await backend.container.sessions.logs(session.session_id, 50)]

    assert "joined" in await eventually(lines, what="its lines")


async def test_an_agent_that_cannot_join_is_a_failed_spawn_with_a_reason(backend: Backend, stack: Stack) -> None:
    """LiveKit does not answer: the agent gives up by itself, and nothing of it is left."""
    await backend.container.rooms.create(warm_id(22))
    stack.livekit.send(signal.SIGSTOP)
    try:
        outcome = await backend.local_host.spawn(Spawn(session_id=warm_id(22), requested_at=time.time(), timeout_s=1.5))
    finally:
        stack.livekit.send(signal.SIGCONT)

    assert not outcome.ok
    assert outcome.code == "agent_died"
    assert outcome.reason == "the agent was not in its room within 1.5 s"
    assert await backend.pool() == set()

    async def nobody() -> bool:
        return not stack.agent_pids()

    await eventually(nobody, what="no agent is left")
    await backend.container.rooms.delete(warm_id(22))


async def test_the_daemon_survives_nonsense_on_its_socket(backend: Backend, stack: Stack) -> None:
    for nonsense in (b"\xff\xfe\n", b"{}\n", b'{"type":"spawn"}\n', b"x" * 300_000, b""):
        reader, writer = await asyncio.open_unix_connection(str(stack.socket))
        writer.write(nonsense)
        writer.write_eof()
        with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # it was closed before all was read
            await reader.read()
        writer.close()

    assert (await backend.spawn(warm_id(23))).ok
    wait_until(lambda: stack.host.process is not None and stack.host.process.poll() is None, what="it runs")


WRONG_COMMANDS: list[dict[str | bytes, str | bytes]] = [
    {"type": "sing"},
    {"nothing": "known"},
    {"type": "end"},
    {"type": "end", "session": "x"},
    {"type": "logs", "session": "x", "limit": "many", "reply": "r"},
    {"type": "logs", "session": "\0", "limit": "9" * 5000, "reply": "r"},
    {"type": "assign"},
    {"type": "assign", "session": "x", "fence": "1", "assignment": "{}", "reply": "r"},
    {"type": "assign", "session": warm_id(1), "fence": "x", "assignment": "{}", "reply": "r"},
    {"type": "assign", "session": warm_id(1), "fence": "1", "assignment": "null", "reply": "r"},
    {"type": "assign", "session": warm_id(1), "fence": "1", "assignment": "[" * 100_000, "reply": "r"},
    {"type": "assign", "session": warm_id(1), "fence": "1", "assignment": '{"user_id": ["hidden"]}', "reply": "r"},
    {b"\xff\xfe": b"\xff", b"type": b"\xff\xff"},
]


async def test_the_daemon_survives_nonsense_in_its_stream(backend: Backend, stack: Stack) -> None:
    session = await backend.warm(warm_id(24))
    client, daemon = backend.container.client, stack.host.pid
    for command in WRONG_COMMANDS:
        await client.xadd(keys.host_commands(HOST_ID), command)

    handed = await backend.start()
    assert isinstance(handed, Handed)
    assert handed.session_id == session.session_id
    log = stack.log("host")
    assert log.count("command not understood") >= 8
    assert log.count("unknown command") >= 3
    assert "a background task failed" not in log
    assert "hidden" not in log
    assert (stack.host.pid, stack.host.process is not None and stack.host.process.poll()) == (daemon, None)
    await client.delete("r")
