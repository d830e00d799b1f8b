"""What comes over the lines between host, zygote and agents, spoilt in every way: nobody stops."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import host_link
from agent.host_link import HostLink
from agent.zygote import Zygote as ZygoteProcess
from contract.messages import (
    MAX_MESSAGE_BYTES,
    AnyMessage,
    Check,
    End,
    Fork,
    Forked,
    Ping,
    Ready,
    Refused,
    Spawn,
    Turn,
    UserJoined,
    parse_line,
)
from orchestrator.host.zygote import Zygote, ZygoteCommand
from tests.support.host_line import Fixture, hello, serving, taken_up
from tests.support.made_up import any_message, models, spoilt_lines
from tests.support.records import warm_id

lines = st.lists(st.one_of(spoilt_lines(), any_message.map(lambda message: message.to_line())), min_size=1, max_size=4)
REQUEST = Spawn(session_id=warm_id(1), requested_at=1.0)


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="greenroom-"))  # a socket's path may have 107 characters
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="greenroom-"))
    try:
        yield path
    finally:
        shutil.rmtree(path)


# --- the host's socket -----------------------------------------------------------------------------------


async def _everything_said(host: Fixture, data: bytes) -> list[AnyMessage]:
    """Send it, hang up, and return what was answered."""
    async with host.line() as line:
        line.send(data)
        line.writer.write_eof()
        told = []
        with contextlib.suppress(OSError):
            while (message := await line.receive()) is not None:
                told.append(message)
    return told


@settings(max_examples=150)
@given(sent=lines, as_agent=st.booleans())
def test_whatever_is_sent_the_host_answers_in_words_and_serves_the_others(sent: list[bytes], as_agent: bool) -> None:
    async def attempt(folder: Path) -> None:
        async with serving(folder) as host, host.line() as other:
            other.send(hello(warm_id(2)))
            agent = await taken_up(host, warm_id(2))
            opening = hello().to_line() if as_agent else b""
            for told in await _everything_said(host, opening + b"".join(sent)):
                assert told.type in {"refused", "spawned", "checked", "retired"}
                assert not isinstance(told, Refused) or told.reason
            assert agent.writer is not None, "the other agent's line is untouched"
            asked = asyncio.create_task(agent.ping(20))
            ping = await other.receive()
            assert isinstance(ping, Ping)
            other.writer.write(b'{"v":1,"type":"pong","seq":%d,"in_room":true}\n' % ping.seq)
            assert await asked

    with _folder() as folder:
        asyncio.run(attempt(folder))


async def test_a_line_that_is_cut_at_any_byte_is_no_harm(folder: Path) -> None:
    async with serving(folder) as host:
        request = REQUEST.to_line()
        for length in range(len(request) + 1):
            told = await _everything_said(host, request[:length])
            whole = length >= len(request) - 1  # the end of the line may be the end of the connection
            assert [message.type for message in told] == (["spawned"] if whole else ["refused"] if length else [])


async def test_one_who_writes_slowly_is_heard_and_holds_nobody_up(folder: Path) -> None:
    async with serving(folder) as host, host.line() as slow:
        for byte in REQUEST.to_line():
            slow.send(bytes([byte]))
            await slow.writer.drain()
            await host.still_serves()
        answer = await slow.receive()
        assert answer is not None
        assert answer.type == "spawned"


async def test_an_agent_that_says_hello_twice_loses_its_line(folder: Path) -> None:
    async with serving(folder) as host, host.line() as line:
        line.send(hello())
        await taken_up(host)
        line.send(hello())
        answer = await line.receive()
        assert answer == Refused(reason="hello is not an agent's message")
        assert await line.closed()


async def test_refused_lines_leave_nothing_behind(folder: Path) -> None:
    async with serving(folder) as host:
        for _ in range(50):
            await _everything_said(host, b"x" * 2 * MAX_MESSAGE_BYTES)
        tracemalloc.start()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(200):
            await _everything_said(host, b"x" * 2 * MAX_MESSAGE_BYTES)
        after, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert after - before < 10 * MAX_MESSAGE_BYTES, "400 MB went by"


# --- the agent's end of its line -------------------------------------------------------------------------


@settings(max_examples=60)
@given(sent=lines)
def test_an_agent_that_hears_nonsense_calls_its_host_again(sent: list[bytes]) -> None:
    async def attempt(path: str) -> None:
        heard: list[AnyMessage] = []
        hellos = 0
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal hellos
            hellos += 1
            assert parse_line(await reader.readline()).type == "hello"
            writer.write(b"".join(sent) if hellos == 1 else End(reason="enough").to_line())
            if hellos > 1:
                await done.wait()
            writer.close()

        async def on_message(message: AnyMessage) -> None:
            heard.append(message)
            if message == End(reason="enough"):
                done.set()

        server = await asyncio.start_unix_server(serve, path)
        link = HostLink(path, hello, on_message)
        running = asyncio.create_task(link.run())
        async with asyncio.timeout(20):
            await done.wait()
        assert not running.done()
        assert heard[-1] == End(reason="enough")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        server.close()

    with _folder() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(host_link, "RETRY_S", 0.001)
        asyncio.run(attempt(str(folder / "s")))


async def test_what_an_agent_keeps_for_a_host_that_is_away_is_bounded() -> None:
    async def on_message(_: AnyMessage) -> None: ...

    link = HostLink("/nowhere", hello, on_message)
    for number in range(3 * host_link.UNSENT_KEPT):
        link.send(Turn(role="user", text=str(number), at=1.0))
        link.send(UserJoined(identity="u", at=1.0))
        link.send(Ready(startup_s=0.1))
    assert len(link._unsent) == host_link.UNSENT_KEPT


# --- host and zygote -------------------------------------------------------------------------------------


class _Forking(ZygoteProcess):
    """The zygote's protocol without its preload, and without forks."""

    def __init__(self, host: socket.socket) -> None:
        self._host = host
        self._buffer = b""
        self.forked: list[Fork] = []

    def _fork(self, request: Fork) -> Forked:
        self.forked.append(request)
        return Forked(session_id=request.session_id, pid=1, start_ticks=1)


@settings(max_examples=150)
@given(sent=lines, last=models(Fork), sizes=st.lists(st.integers(1, 200), min_size=1, max_size=8))
def test_a_zygote_that_hears_nonsense_forks_for_what_comes_after_it(
    sent: list[bytes], last: Any, sizes: list[int]
) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        zygote = _Forking(theirs)
        data = b"".join(sent) + b"\n" + last.to_line()
        place = 0
        while data:
            size = sizes[place % len(sizes)]
            ours.sendall(data[:size])
            data, place = data[size:], place + 1
            assert zygote._read()
        assert zygote.forked[-1] == last


def test_a_zygote_does_not_keep_a_line_without_an_end(capfd: pytest.CaptureFixture[str]) -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        zygote, sent = _Forking(theirs), 0
        ours.sendall(b"x" * 10_000)
        while zygote._read():
            sent += 10_000
            assert sent < 2 * MAX_MESSAGE_BYTES
            ours.sendall(b"x" * 10_000)
    assert "without an end" in capfd.readouterr().err


@settings(max_examples=150)
@given(sent=lines)
def test_a_host_that_hears_nonsense_from_its_zygote_goes_on(sent: list[bytes]) -> None:
    async def attempt() -> None:
        zygote = Zygote(ZygoteCommand("m", "a:b", {}, home="h"), lambda *_: None, lambda: None)
        reader = asyncio.StreamReader(limit=MAX_MESSAGE_BYTES)
        reader.feed_data(b"".join(sent))
        reader.feed_eof()
        async with asyncio.timeout(20):
            await zygote._hear(reader, SimpleNamespace(generation="1.0", process=SimpleNamespace(pid=1)))

    with pytest.MonkeyPatch.context() as patch:
        # A made-up fork may have a living process's PID.
        patch.setattr("orchestrator.host.zygote.send", lambda *_: None)
        asyncio.run(attempt())


async def test_a_check_is_answered_while_lines_are_refused(folder: Path) -> None:
    async with serving(folder) as host:
        nonsense = [asyncio.create_task(_everything_said(host, b"\xff\n")) for _ in range(50)]
        answer = await host.ask(Check())
        assert answer is not None
        assert answer.type == "checked"
        assert all([told.type for told in each] == ["refused"] for each in await asyncio.gather(*nonsense))
