"""An agent dies in a call, in every way and at every moment: another one goes on in the same room."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import AsyncIterator, Iterator

import pytest
from livekit import rtc

from agent.conversation import RESUMED_LINE
from agent.voices.script import GREETING, JOKES
from contract.states import SessionState
from orchestrator.records import Death, ReplaceRule, Session
from tests.support.session_call import agents_in_room, another_agent, calling, claimed, joined, watching
from tests.support.stack import Backend, Stack, eventually, pause, running_stack

pytestmark = pytest.mark.timeout(180)
S = SessionState


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    # The host's lease is long: a start is not to find the pool closed because the machine is busy.
    settings = {"PREWARM_POOL_SIZE": "1", "SPAWN_TIMEOUT_S": "5", "ACK_TIMEOUT_S": "1.5", "RECONNECT_GRACE_S": "3"}
    with running_stack(worker=True, aof=True, HOST_LEASE_S="20", HOST_LOST_S="20", **settings) as stack:
        yield stack


@pytest.fixture
async def backend(stack: Stack) -> AsyncIterator[Backend]:
    async with stack.container() as backend:
        await resized(backend, 1)
        yield backend
        await resized(backend, 0)
        calls = await backend.store.page([S.STARTING, S.ASSIGNED, S.ACTIVE], 100, None)
        await backend.end(*(session.session_id for session in calls.sessions))

        async def nobody() -> bool:
            return not stack.agent_pids()

        await eventually(nobody, what="no agent is left")
        stack.all_reaped()
        assert await backend.rooms_left() == []


async def resized(backend: Backend, size: int) -> None:
    async def done() -> bool:
        await backend.container.pool.resize(size)
        return True

    await eventually(done, what="the pool is resized")  # this process's line to a Redis that was restarted is dead


def kill(session: Session) -> None:
    assert session.agent_pid is not None
    os.kill(session.agent_pid, signal.SIGKILL)


async def without_agent(backend: Backend, session_id: str) -> Session:
    """The session, once its agent's death was noticed."""

    async def look() -> Session | None:
        session = await backend.store.get(session_id)
        return session if session is not None and session.agent is None else None

    return await eventually(look, what="it has no agent")


async def test_an_agent_killed_in_a_call_is_replaced_and_knows_the_conversation(backend: Backend) -> None:
    async with calling(backend) as call, watching(backend, call.session_id) as watch:
        assert await call.asks("tell me a joke") == JOKES[0]
        before = await call.session()

        kill(before)

        await call.hears(RESUMED_LINE)
        after = await another_agent(backend, before)
        assert (after.state, after.user_id, after.assigned_at) == (S.ACTIVE, "user-x", before.assigned_at)
        assert (after.replacements, after.fence > before.fence) == (1, True)
        assert await call.asks("tell me another joke") == JOKES[1], "it knows which one was told"
        assert (len(watch.sids), watch.most_at_once) == (2, 1)
        turns = [turn.text for turn in await backend.store.turns(call.session_id)]
        assert turns[:3] == [GREETING, "tell me a joke", JOKES[0]]
        assert call.lines.count(RESUMED_LINE) == turns.count(RESUMED_LINE) == 1
        assert (await backend.store.spawn_stats()).replacements["agent_died"] >= 1


async def test_one_that_a_signal_ends_in_a_call_is_replaced(backend: Backend) -> None:
    """As LiveKit's native library does to its own process when it panics."""
    async with calling(backend) as call:
        assert await call.asks("tell me a joke") == JOKES[0]
        before = await call.session()
        assert before.agent_pid is not None

        os.kill(before.agent_pid, signal.SIGTERM)

        await call.hears(RESUMED_LINE)
        after = await another_agent(backend, before)
        assert (after.state, after.replacements) == (S.ACTIVE, 1)
        assert await call.asks("tell me another joke") == JOKES[1]


async def test_before_its_user_came_the_successor_just_waits(backend: Backend) -> None:
    before = await claimed(backend)

    kill(before)

    after = await another_agent(backend, before)
    assert after.state is S.ASSIGNED
    async with joined(backend, before.session_id) as call:
        await call.hears(GREETING)
        assert RESUMED_LINE not in call.lines
        assert await call.asks("tell me a joke") == JOKES[0]


async def test_an_agent_that_hangs_in_a_call_is_replaced(backend: Backend) -> None:
    async with calling(backend) as call, watching(backend, call.session_id) as watch:
        before = await call.session()
        assert before.agent_pid is not None
        pause(before.agent_pid)

        assert (await backend.local_host.check()).ended == [before.session_id]

        await call.hears(RESUMED_LINE)
        after = await another_agent(backend, before)
        assert after.replacements == 1
        await backend.gone(before.agent_pid)
        assert watch.most_at_once == 1
        assert await call.asks("tell me a joke") == JOKES[0]


async def test_one_that_is_stopped_in_a_call_is_found_by_its_host(backend: Backend) -> None:
    """Nobody has it go on, and no check is asked for: its own alarm would wait for ever."""
    async with calling(backend) as call, watching(backend, call.session_id) as watch:
        before = await call.session()
        assert before.agent_pid is not None
        pause(before.agent_pid)

        after = await another_agent(backend, before)

        await call.hears(RESUMED_LINE)
        assert after.replacements == 1
        assert (await backend.store.spawn_stats()).replacements["agent_unresponsive"] >= 1
        await backend.gone(before.agent_pid)
        assert watch.most_at_once == 1
        assert await call.asks("tell me a joke") == JOKES[0]


async def test_agents_that_go_on_dying_fail_the_session_with_the_reason(backend: Backend) -> None:
    async with calling(backend) as call:
        for number in (1, 2):
            before = await call.session()
            kill(before)
            await call.hears(RESUMED_LINE, times=number)
            assert (await another_agent(backend, before)).replacements == number
        kill(await call.session())

        failed = await backend.session(call.session_id, S.FAILED)
        assert failed.error == "the agent process died (SIGKILL); its agent was replaced 2 times before"
        assert failed.error_code == "agent_died"
        await backend.room_gone(call.session_id)


async def test_one_that_ends_on_purpose_is_not_replaced(backend: Backend) -> None:
    async with calling(backend) as call:
        await call.asks("goodbye")
        ended = await backend.session(call.session_id, S.ENDED)
        assert (ended.end_reason, ended.replacements) == ("the user said goodbye", 0)
        await backend.room_gone(call.session_id)


async def test_a_user_who_left_meanwhile_is_waited_for_and_the_session_ends(backend: Backend, stack: Stack) -> None:
    async with calling(backend) as call:
        before = await call.session()
        pause(stack.worker.pid)
        kill(before)
        await without_agent(backend, call.session_id)
    os.kill(stack.worker.pid, signal.SIGCONT)

    after = await another_agent(backend, before)
    assert after.state is S.ACTIVE
    ended = await backend.session(before.session_id, S.ENDED)
    assert ended.end_reason == "the user left"
    await backend.room_gone(before.session_id)


@pytest.mark.parametrize("when", ["its spawn is queued", "its agent is being forked"])
async def test_a_session_that_is_ended_meanwhile_leaves_nothing(backend: Backend, stack: Stack, when: str) -> None:
    async with calling(backend) as call:
        pid = stack.worker.pid if when == "its spawn is queued" else stack.zygote_pid()
        pause(pid)
        try:
            kill(await call.session())
            await without_agent(backend, call.session_id)
            if when == "its agent is being forked":
                await _spawn_begun(backend, call.session_id)
            await backend.container.sessions.end(call.session_id, "its caller ended it")
        finally:
            os.kill(pid, signal.SIGCONT)

        await backend.room_gone(call.session_id)
        session = await backend.session(call.session_id, S.ENDED)
        assert (session.agent, session.end_reason) == (None, "its caller ended it")


async def _spawn_begun(backend: Backend, session_id: str) -> None:
    async def begun() -> bool:
        session = await backend.store.get(session_id)
        return session is not None and session.attempts > 0

    await eventually(begun, what="its spawn is begun")


async def test_one_that_died_with_its_host_daemon_is_replaced_by_the_next_daemon(
    backend: Backend, stack: Stack
) -> None:
    async with calling(backend) as call:
        before = await call.session()
        stack.host.kill()
        kill(before)
        stack.start_host(ready=False)

        await call.hears(RESUMED_LINE)
        assert (await another_agent(backend, before)).replacements == 1


async def test_one_that_died_while_redis_was_away_is_replaced_when_it_is_back(backend: Backend, stack: Stack) -> None:
    async with calling(backend) as call:
        assert await call.asks("tell me a joke") == JOKES[0]
        before = await call.session()
        stack.redis.stop()
        kill(before)
        assert before.agent_pid is not None
        await backend.gone(before.agent_pid)
        stack.redis.start()

        await call.hears(RESUMED_LINE)
        assert await call.asks("tell me another joke") == JOKES[1]


async def test_a_replacement_that_nobody_queued_is_queued_by_the_next_look(backend: Backend) -> None:
    """Whoever noticed the death died in between. The agent lives, in fact: it is refused and ended, its room stays."""
    async with calling(backend) as call, watching(backend, call.session_id) as watch:
        before = await call.session()
        assert before.agent is not None
        rule = ReplaceRule(most=2, begin_s=0)
        died = await backend.store.replace(call.session_id, before.agent, "it died", "agent_died", rule)
        assert died is Death.REPLACED
        await backend.gone(before.agent.pid)
        assert await backend.room(call.session_id) is not None

        await backend.container.replacer.look()
        await call.hears(RESUMED_LINE)
        assert watch.most_at_once == 1
        [agent] = await agents_in_room(backend, call.session_id)
        assert agent.identity == f"agent-{call.session_id}"


async def test_livekit_puts_the_older_of_two_agents_out_and_that_one_ends_itself(backend: Backend) -> None:
    """Both have the session's one identity. Here the newer one is nobody's agent, so the session is given another."""
    async with calling(backend) as call, watching(backend, call.session_id) as watch:
        before = await call.session()
        assert before.agent is not None
        put_out: list[rtc.DisconnectReason.ValueType] = []
        newer = rtc.Room()
        newer.on("disconnected", put_out.append)
        container = backend.container
        token = container.tokens.agent(call.session_id, issued_at=time.time() - 10, ttl_s=600)
        await newer.connect(container.settings.livekit_url, token)

        await backend.gone(before.agent.pid)
        await call.hears(RESUMED_LINE)

        assert (await another_agent(backend, before)).replacements == 1
        assert put_out == [rtc.DisconnectReason.DUPLICATE_IDENTITY]
        assert (len(watch.sids), watch.most_at_once) == (3, 1)
        lines = [line.get("reason") for line in await container.sessions.logs(call.session_id, 500)]
        assert "the room connection ended (duplicate_identity)" in lines
        await newer.disconnect()


async def test_a_replacement_whose_spawn_fails_its_tries_fails_the_session(backend: Backend, stack: Stack) -> None:
    async with calling(backend) as call:
        zygote = stack.zygote_pid()
        pause(zygote)
        try:
            kill(await call.session())
            failed = await backend.session(call.session_id, S.FAILED)
        finally:
            os.kill(zygote, signal.SIGCONT)
        assert failed.error_code == "spawn_failed"
        await backend.room_gone(call.session_id)
