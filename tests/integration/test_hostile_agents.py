"""Agents run others' code: what a hostile one finds, what it is refused, and what it may use up. All of it real."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.host.lines import OF_AN_AGENT
from orchestrator.host.watch import WATCH_S
from orchestrator.records import Session
from orchestrator.services.start import Handed
from tests.support import hostile_agent
from tests.support.other_user import USER, as_root_with_python_for_all
from tests.support.records import warm_id
from tests.support.servers import wait_until
from tests.support.stack import Backend, Stack, eventually

pytestmark = pytest.mark.timeout(180)
MEMORY_MB = 400
OPEN_FILES = 256
PROCESSES = 20
MY_API_KEY = "key-0123456789abcdef"


def hostile_stack(user: str | None) -> Iterator[Stack]:
    settings = {"AGENT": "hostile_agent:make", "PREWARM_POOL_SIZE": "0", "MAX_BOTS": "6", "ACK_TIMEOUT_S": "1.5"}
    settings |= {"AGENT_MEMORY_MB": str(MEMORY_MB), "AGENT_OPEN_FILES": str(OPEN_FILES)}
    settings |= {"AGENT_PROCESSES": str(PROCESSES), "MAX_REPLACEMENTS": "0", "AN_UNKNOWN_SECRET": "x"}
    # The host's lease is long: a start is not to find the pool closed because agents keep the machine busy.
    settings |= {"HOST_LEASE_S": "20", "HOST_LOST_S": "20"}
    settings |= {"AGENT_ENV": "MY_*", "MY_OWN": "wanted", "MY_API_KEY": MY_API_KEY} | (
        {"AGENT_USER": user} if user else {}
    )
    before = as_root_with_python_for_all() if user else []
    stack = Stack.create(**settings)
    try:
        stack.before_host = before
        stack.folder.chmod(0o711)  # temporary folders are closed; an operator's need not be
        stack.bring_module(hostile_agent.__file__)
        stack.start_worker()
        stack.start_host()
        yield stack
    finally:
        stack.stop()


@pytest.fixture(scope="module", params=[None, USER], ids=["the host's user", "another user"])
def stack(request: pytest.FixtureRequest) -> Iterator[Stack]:
    yield from hostile_stack(request.param)


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        yield backend
        live = await backend.store.page([SessionState.READY, SessionState.ASSIGNED], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))


async def does(backend: Backend, number: int, deed: str) -> Session:
    """An agent that was handed to a user, and does this."""
    await backend.warm(warm_id(number))
    handed = await backend.start(deed)
    assert isinstance(handed, Handed)
    # Some say at once that their user has come.
    return await backend.session(handed.session_id, SessionState.ASSIGNED, SessionState.ACTIVE)


async def told(backend: Backend, session: Session, count: int) -> list[dict[str, Any]]:
    """What it printed of what it did."""

    async def look() -> list[dict[str, Any]] | None:
        lines = await backend.container.hosts.logs(backend.stack.host_id, session.session_id, 1000)
        printed = [str(line.get("message")) for line in lines if line.get("stream") == "stdout"]
        found = [json.loads(line) for line in printed if line.startswith("{")]
        return found if len(found) >= count else None

    return await eventually(look, what=f"{count} lines of the hostile agent")


def left(stack: Stack, name: str) -> list[int]:
    found = []
    for process in stack.processes():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.name() == name:
                found.append(process.pid)
    return found


async def test_what_it_finds(backend: Backend, stack: Stack) -> None:
    await backend.warm(warm_id(1))
    other = await does(backend, 2, "idle")
    session = await does(backend, 3, "look")
    *looks, own = await told(backend, session, 4)

    names = set(own["environment"])
    assert {"PATH", "MY_OWN", "GREENROOM_HOME", "AGENT"} <= names
    assert not names & {"REDIS_URL", "LIVEKIT_API_SECRET", "LIVEKIT_API_KEY", "ADMIN_TOKEN", "AN_UNKNOWN_SECRET"}
    environment = Path(f"/proc/{stack.zygote_pid()}/environ").read_bytes()
    assert b"REDIS_URL" not in environment
    assert {look["who"] for look in looks} == {"zygote", "host", "agent"}
    if stack.settings.get("AGENT_USER"):
        assert own["user"] != 0
        reached = {(look["who"], what): said for look in looks for what, said in look.items() if what != "who"}
        assert set(reached.values()) == {"PermissionError"}, reached
        closed = ("logs", "agents", "key", "own_log")
        assert {what: own[what] for what in closed} == dict.fromkeys(closed, "PermissionError")
    assert (await backend.session(other.session_id, SessionState.ASSIGNED)).agent_pid == other.agent_pid


async def test_what_the_host_is_asked_by_an_agent_is_refused(backend: Backend) -> None:
    session = await does(backend, 4, "ask")
    answers = await told(backend, session, 3)
    assert {answer.pop("asker") for answer in answers} == {"agent", "child", "orphan"}
    refused = dict.fromkeys(("spawn", "check", "retire", "an invented session", "with a made-up proof"), "refused")
    assert answers == [refused] * 3
    assert await backend.store.get(hostile_agent.OTHER) is None
    assert (await backend.local_host.check()).agents == 1, "a worker is still answered"


@pytest.mark.parametrize(("number", "deed"), [(20, "hog"), (22, "share"), (24, "breed")])
async def test_a_memory_hog_is_ended_and_says_why(backend: Backend, number: int, deed: str) -> None:
    """By itself, in maps that it shares, and by the children that it has."""
    other = await does(backend, number, "idle")
    session = await does(backend, number + 1, deed)
    failed = await backend.session(session.session_id, SessionState.FAILED)
    assert failed.error is not None
    assert failed.error.endswith(f"MB of memory; {MEMORY_MB} are allowed (AGENT_MEMORY_MB)")
    assert (await backend.session(other.session_id, SessionState.ASSIGNED)).agent_pid == other.agent_pid


@pytest.mark.parametrize(("number", "deed"), [(30, "bomb"), (32, "scatter")])
async def test_a_fork_bomb_is_bounded_and_nothing_of_it_is_left(
    backend: Backend, stack: Stack, number: int, deed: str
) -> None:
    """In its own session, and each process in another one."""
    session = await does(backend, number, deed)
    failed = await backend.session(session.session_id, SessionState.FAILED)
    assert failed.error is not None
    assert failed.error.endswith(f"processes; {PROCESSES} are allowed (AGENT_PROCESSES)")
    assert session.agent_pid is not None
    await backend.gone(session.agent_pid)
    wait_until(lambda: not left(stack, "sleep"), what="nothing of it is left")
    stack.all_reaped()
    assert (await backend.warm(warm_id(number + 1))).agent_pid


async def test_what_one_leaves_behind_goes_with_it(backend: Backend, stack: Stack) -> None:
    session = await does(backend, 12, "leave")
    [told_of] = await told(backend, session, 1)
    assert told_of["left"] in left(stack, "sleep")
    await backend.end(session.session_id)
    wait_until(lambda: not left(stack, "sleep"), what="nothing of it is left")
    stack.all_reaped()


async def test_a_flood_of_messages_delays_nobody_elses_news(backend: Backend) -> None:
    """Said to its host at once, and made known by it: a death beside 3,000 messages a second."""
    other = await does(backend, 13, "idle")
    flooding = await does(backend, 14, "flood")
    await told(backend, flooding, 1)
    await asyncio.sleep(3)
    assert other.agent_pid is not None
    os.kill(other.agent_pid, signal.SIGKILL)
    killed_at = time.monotonic()
    await backend.session(other.session_id, SessionState.FAILED)
    assert time.monotonic() - killed_at < 2
    assert (await backend.session(flooding.session_id, SessionState.ACTIVE)).agent_pid == flooding.agent_pid
    await backend.end(flooding.session_id)


async def test_one_cannot_say_whose_it_is(backend: Backend) -> None:
    session = await does(backend, 15, "usurp")
    await told(backend, session, 1)
    known = await backend.session(session.session_id, SessionState.ACTIVE)
    assert (known.user_id, known.fence) == (session.user_id, session.fence)
    assert int(await backend.container.client.get(keys.STATS_FENCE)) == session.fence
    await backend.end(session.session_id)
    other = await does(backend, 16, "idle")
    assert session.fence < other.fence < 2**53 - 1


async def test_a_key_that_it_has_printed_is_told_to_nobody(backend: Backend) -> None:
    session = await does(backend, 41, "say")
    await told(backend, session, 1)
    lines = await backend.container.hosts.logs(backend.stack.host_id, session.session_id, 1000)
    said = [line["message"] for line in lines if "says" in str(line.get("message"))]
    assert said == ["a shell says [masked]", "Python says [masked]"]


async def test_it_cannot_take_the_hosts_file_descriptors(backend: Backend) -> None:
    """By itself, and by processes that open some each and hand them over."""
    session = await does(backend, 17, "dial")
    [found] = await told(backend, session, 1)
    assert found["own"] == OF_AN_AGENT - 1, "it has one already"
    assert found["childrens"] == 0
    await does(backend, 18, "idle")
    assert (await backend.local_host.check()).ended == []
    assert (await backend.session(session.session_id, SessionState.ASSIGNED)).agent_pid == session.agent_pid


async def test_it_may_call_itself_whatever_it_likes(backend: Backend, stack: Stack) -> None:
    """Its name stands in what the host reads of it."""
    session = await does(backend, 19, "name")
    await told(backend, session, 1)
    await asyncio.sleep(2 * WATCH_S)
    assert (await backend.local_host.check()).ended == []
    assert not stack.host.has_ended
    assert "agents were not looked at" not in stack.log("host")


async def test_one_that_says_it_leaves_and_stays_is_ended_by_its_user(backend: Backend) -> None:
    session = await does(backend, 34, "stay")
    await told(backend, session, 1)
    assert session.agent_pid is not None
    await backend.end(session.session_id)
    await backend.gone(session.agent_pid)


async def test_open_files_are_bounded(backend: Backend) -> None:
    session = await does(backend, 9, "files")
    [found] = await told(backend, session, 1)
    assert 0 < found["opened"] < OPEN_FILES
    assert await backend.local_host.check()
    assert (await backend.session(session.session_id, SessionState.ASSIGNED)).agent_pid == session.agent_pid


async def test_beside_a_busy_one_others_are_handed_out(backend: Backend, stack: Stack) -> None:
    session = await does(backend, 10, "busy")
    [found] = await told(backend, session, 1)
    assert found == {"nice": 5, "group": "5"}
    await does(backend, 11, "idle")
    assert (await backend.local_host.check()).ended == []
    assert psutil.Process(stack.host.pid).nice() == 0
