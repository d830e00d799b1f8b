"""The host's socket: whatever comes in on it, the next client is served."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from contract.messages import (
    MAX_MESSAGE_BYTES,
    AnyMessage,
    Assigned,
    Check,
    Leaving,
    Measured,
    Ping,
    Pong,
    Ready,
    Refused,
    Retire,
    Retired,
    Spawn,
    Spawned,
    Turn,
    UserJoined,
    UserLeft,
)
from orchestrator.host import pace
from orchestrator.host import server as module
from orchestrator.host.lines import OF_AN_AGENT
from orchestrator.host.pace import AT_ONCE
from tests.support.host_line import Fixture, hello, serving, taken_up
from tests.support.records import warm_id

SPAWN = Spawn(session_id=warm_id(1), requested_at=1.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="greenroom-"))  # a socket's path may have 107 characters
    yield path
    shutil.rmtree(path)


@pytest.fixture
async def host(folder: Path) -> AsyncIterator[Fixture]:
    async with serving(folder) as host:
        yield host


async def test_only_the_owner_may_connect(host: Fixture) -> None:
    assert host.path.stat().st_mode & 0o777 == 0o600


async def test_a_dead_daemons_socket_file_is_replaced(folder: Path) -> None:
    (folder / "host.sock").write_text("")
    async with serving(folder):
        pass


async def test_a_request_has_one_answer_and_then_the_line_is_closed(host: Fixture) -> None:
    async with host.line() as line:
        line.send(SPAWN)
        assert await line.receive() == Spawned(ok=True, pid=1, startup_s=0.1)
        assert await line.closed()
    assert await host.ask(Retire()) == Retired(agents=0)
    assert host.retired == 1


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"nonsense\n",
        b"\xff\xfe\n",
        b"[]\n",
        b"{}\n",
        b'{"v":1,"type":"sing"}\n',
        b'{"v":2,"type":"check"}\n',
        b'{"v":1,"type":"check","more":1}\n',
        b'{"v":1,"type":"spawn","session_id":"../etc/passwd","requested_at":1}\n',
        b'{"v":1,"type":"spawn","session_id":"prewarm_00000001","requested_at":NaN}\n',
        b'{"v":1,"type":"hello"}\n',
        Ping(seq=1).to_line(),
        Turn(role="user", text="hi", at=1.0).to_line(),
        b"[" * 100_000 + b"\n",
    ],
    ids=lambda line: line[:32].decode(errors="replace").strip() or "empty",
)
async def test_what_is_no_request_is_refused_with_a_reason(host: Fixture, line: bytes) -> None:
    reply = await host.ask(line)
    assert isinstance(reply, Refused)
    assert 0 < len(reply.reason) <= 300


async def test_a_line_without_an_end_is_refused(host: Fixture) -> None:
    async with host.line() as line:
        line.send(b"x" * (3 * MAX_MESSAGE_BYTES))
        with contextlib.suppress(ConnectionResetError):
            assert isinstance(await line.receive(), Refused)


async def test_one_who_says_nothing_is_not_waited_for(host: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_MESSAGE_TIMEOUT_S", 0.02)
    async with host.line() as line:
        assert await line.closed()
    async with host.line() as line:
        line.send(b'{"v":1,')
        assert await line.closed()


async def test_one_who_hangs_up_is_no_error(host: Fixture, capsys: pytest.CaptureFixture[str]) -> None:
    async with host.line():
        pass
    async with host.line() as line:
        line.send(SPAWN)
    await host.still_serves()
    assert "Traceback" not in capsys.readouterr().out


async def test_an_agent_keeps_its_line_and_is_heard(host: Fixture) -> None:
    async with host.line() as line:
        line.send(hello(phase="joining"))
        agent = await taken_up(host)
        waiting = asyncio.create_task(agent.ping(20))
        assert await line.receive() == Ping(seq=1)
        for message in (
            Ready(startup_s=0.2),
            Pong(seq=1, in_room=True),
            UserJoined(identity="u", at=1.0),
            Turn(role="user", text="hi", at=1.0),
            Measured(seq=7),
            UserLeft(at=2.0),
            Assigned(fence=1, accepted=True),
            Leaving(reason="done"),
        ):
            line.send(message)
        assert await waiting
        async with asyncio.timeout(20):
            while "done" not in host.agents.news:
                await asyncio.sleep(0)
        assert agent.phase == "ready"
        assert host.agents.news == ["joined", "hi", 7, "left", "done"]
    async with asyncio.timeout(20):
        while agent.writer is not None:
            await asyncio.sleep(0)


async def test_one_that_says_too_much_waits_also_on_a_new_line(host: Fixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "AT_ONCE", 10)
    monkeypatch.setattr(pace, "MESSAGES_PER_S", 100)
    began = time.monotonic()
    async with host.line() as line, host.line() as newer:
        line.send(hello())
        agent = await taken_up(host)
        first = agent.writer
        line.send(b"".join(Turn(role="user", text=str(n), at=1.0).to_line() for n in range(50)))
        async with asyncio.timeout(20):
            while len(host.agents.news) < 50:
                await asyncio.sleep(0.001)
        assert time.monotonic() - began > 0.35
        assert host.agents.news == [str(n) for n in range(50)], "in order, and all of it"
        for _ in range(20):
            agent.pace.wait_s()
        newer.send(hello())
        await asyncio.sleep(0.05)
        assert agent.writer is first
        async with asyncio.timeout(20):
            while agent.writer is first:
                await asyncio.sleep(0.001)


async def test_what_a_dead_one_had_said_too_fast_is_nothing_any_more(host: Fixture) -> None:
    async with host.line() as line:
        line.send(hello())
        agent = await taken_up(host)
        line.send(b"".join(Turn(role="user", text=str(n), at=1.0).to_line() for n in range(AT_ONCE + 50)))
        async with asyncio.timeout(20):
            while len(host.agents.news) < AT_ONCE:
                await asyncio.sleep(0.001)
        agent.died("killed")
        assert await line.closed()
    assert len(host.agents.news) < AT_ONCE + 50


async def test_one_who_is_another_process_than_it_says_is_refused(host: Fixture) -> None:
    reply = await host.ask(hello(pid=os.getppid()))
    assert isinstance(reply, Refused)
    assert reply.reason.startswith("pid")
    assert len(host.agents) == 0


async def test_a_second_process_for_a_session_is_refused_and_the_first_stays(host: Fixture) -> None:
    async with host.line() as line:
        line.send(hello())
        agent = await taken_up(host)
        reply = await host.ask(hello(start_ticks=1))
        assert isinstance(reply, Refused)
        assert reply.reason == "session_id: another process is this session's agent"
        waiting = asyncio.create_task(agent.ping(20))
        assert await line.receive() == Ping(seq=1)
        line.send(Pong(seq=1, in_room=True))
        assert await waiting


async def test_an_agent_that_comes_back_has_the_newer_line(host: Fixture) -> None:
    """The older line's end, noticed late, does not cut off the newer one."""
    async with host.line() as older, host.line() as newer:
        older.send(hello())
        agent = await taken_up(host)
        first = agent.writer
        newer.send(hello())
        async with asyncio.timeout(20):
            while agent.writer is first:
                await asyncio.sleep(0)
        older.writer.close()
        await older.closed()
        waiting = asyncio.create_task(agent.ping(20))
        assert await newer.receive() == Ping(seq=1)
        newer.send(Pong(seq=1, in_room=True))
        assert await waiting


@pytest.mark.parametrize("message", [b"nonsense\n", Check().to_line(), b'{"v":2,"type":"pong","seq":1}\n'])
async def test_an_agent_that_speaks_nonsense_loses_its_line(host: Fixture, message: bytes) -> None:
    async with host.line() as line:
        line.send(hello())
        agent = await taken_up(host)
        line.send(message)
        assert isinstance(await line.receive(), Refused)
        assert await line.closed()
    assert agent.writer is None
    assert not agent.dead.is_set(), "it may come back"


messages = st.one_of(
    st.binary(max_size=300),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
    st.fixed_dictionaries(
        {"v": st.sampled_from([1, 1, 2, None])},
        optional={
            "type": st.sampled_from(["hello", "spawn", "check", "turn", "assigned", "sing", 1]),
            "session_id": st.sampled_from([warm_id(1), "../x", 5]),
            "pid": st.integers(-1, 2**70),
            "start_ticks": st.integers(-1, 2**70),
            "phase": st.sampled_from(["ready", "joining", "?"]),
            "created_at": st.floats(),
            "requested_at": st.floats(),
        },
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(max_examples=150, deadline=None)
@given(lines=st.lists(messages, min_size=1, max_size=4), ended=st.booleans())
def test_no_bytes_stop_the_server(lines: list[bytes], ended: bool) -> None:
    async def send_them(folder: Path) -> None:
        async with serving(folder) as host, host.line() as line:
            line.send(b"\n".join(lines) + (b"\n" if ended else b""))
            line.writer.write_eof()
            with contextlib.suppress(OSError):
                while await line.reader.read(65_536):
                    pass

    folder = Path(tempfile.mkdtemp(prefix="greenroom-"))
    try:
        asyncio.run(send_them(folder))
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("request_", [SPAWN, Check(), Retire()], ids=["spawn", "check", "retire"])
async def test_what_an_agent_asks_is_refused(host: Fixture, request_: AnyMessage) -> None:
    host.strangers.agent = 7
    async with host.line() as line:
        line.send(request_)
        refused = await line.receive()
    assert isinstance(refused, Refused)
    assert refused.reason == f"{request_.type} is not for agents to ask"  # type: ignore[attr-defined]
    assert host.retired == 0
    host.strangers.agent = None


async def test_one_that_opens_too_many_lines_is_refused_and_others_are_served(host: Fixture) -> None:
    host.strangers.agent = 7
    async with contextlib.AsyncExitStack() as opened:
        logged = opened.enter_context(capture_logs())
        first = [await opened.enter_async_context(host.line()) for _ in range(OF_AN_AGENT)]
        first[0].send(hello())
        agent = await taken_up(host)
        for _ in range(100):
            async with host.line() as line:
                assert await line.receive() == Refused(reason="too many lines are open")
                assert await line.closed()
        assert host.agents.dials == [7] * (OF_AN_AGENT + 100)
        host.strangers.agent = 8
        async with host.line() as line:
            line.send(hello(warm_id(2)))
            await taken_up(host, warm_id(2))
        host.strangers.agent = None
        await host.still_serves()
        waiting = asyncio.create_task(agent.ping(20))
        assert await first[0].receive() == Ping(seq=1)
        first[0].send(Pong(seq=1, in_room=True))
        assert await waiting
    host.strangers.agent = 7
    async with host.line() as line:
        line.send(hello())
        await taken_up(host)
    host.strangers.agent = None
    assert [line["event"] for line in logged].count("too many lines are open") == 1, "and not a hundred times"
