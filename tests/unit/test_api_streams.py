"""A session's events: what comes, when it ends, and that nothing is left of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import pytest
from starlette.types import Message

from contract.states import SessionState
from orchestrator.api import session_events, streams
from orchestrator.api.streams import Streams
from orchestrator.domain.errors import StoreUnavailableError, TooManyStreamsError
from tests.support.api import ADMIN, ApiUnderTest, api_under_test
from tests.support.sse import stream

UNKNOWN = "prewarm_00000000000000000000000000000000"


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with api_under_test() as api:
        yield api


def events_of(session_id: str) -> str:
    return f"/api/session/{session_id}/events"


async def starting(api: ApiUnderTest) -> str:
    return str((await api.start({"userId": "ada"})).json()["sessionId"])


async def assigned(api: ApiUnderTest) -> str:
    await api.warm()
    return str((await api.start({"userId": "ada"})).json()["sessionId"])


@pytest.fixture
def notices_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks by itself: what comes, comes of a notice."""
    monkeypatch.setattr(session_events, "LOOK_STARTING_S", 3600)
    monkeypatch.setattr(session_events, "LOOK_S", 3600)


@pytest.fixture
def looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_events, "LOOK_STARTING_S", 0.01)
    monkeypatch.setattr(session_events, "LOOK_S", 0.01)


async def heard(api: ApiUnderTest) -> None:
    """Wait until the subscription stands: what is published from then on is heard."""
    async with asyncio.timeout(10):
        while not (await api.container.client.pubsub_numsub("session-changed"))[0][1]:
            await asyncio.sleep(0)


async def test_the_first_event_is_what_a_look_says(api: ApiUnderTest) -> None:
    session_id = await assigned(api)
    async with stream(api.app, events_of(session_id)) as followed:
        assert followed.status == 200
        assert followed.headers["content-type"].startswith("text/event-stream")
        assert followed.headers["cache-control"] == "no-store"
        assert followed.headers["x-accel-buffering"] == "no"
        event = await followed.next()
        assert (event.name, followed.retry_ms) == ("session", 2000)
        assert event.data == (await api.client.get(f"/api/session/{session_id}")).json()


async def test_only_the_admin_is_told_where_the_agent_is(api: ApiUnderTest) -> None:
    session_id = await assigned(api)
    async with stream(api.app, events_of(session_id)) as followed:
        assert (await followed.next()).data["host"] is None
    async with stream(api.app, events_of(session_id), ADMIN) as followed:
        assert (await followed.next()).data["host"] == "h1"


@pytest.mark.usefixtures("notices_only")
async def test_each_change_is_told_until_the_end(api: ApiUnderTest) -> None:
    session_id = await assigned(api)
    async with stream(api.app, events_of(session_id)) as followed:
        assert (await followed.next()).data["status"] == "ready"
        await heard(api)
        await api.container.store.mark_active(session_id)
        assert (await followed.next()).data["status"] == "active"
        await api.container.store.touch(session_id)  # nothing that is shown
        await api.client.delete(f"/api/session/{session_id}")
        [last] = await followed.rest()
        assert (last.data["status"], last.data["endReason"]) == ("ended", "ended by its caller")
        assert followed.ended


@pytest.mark.parametrize("state", [SessionState.ENDED, SessionState.FAILED])
async def test_one_that_is_over_is_told_once(api: ApiUnderTest, state: SessionState) -> None:
    session_id = await starting(api)
    await api.container.store.finish(session_id, state, "why", code="spawn_failed")
    async with stream(api.app, events_of(session_id)) as followed:
        assert [event.data["status"] for event in await followed.rest()] == [str(state)]


@pytest.mark.usefixtures("looks_often")
async def test_a_place_in_the_queue_moves_without_a_notice() -> None:
    async with api_under_test(max_bots=1, prewarm_pool_size=0) as api:
        first, second = await starting(api), await starting(api)
        async with stream(api.app, events_of(second)) as followed:
            before = (await followed.next()).data
            assert (before["status"], before["queuePosition"]) == ("starting", 2)
            await api.client.delete(f"/api/session/{first}")
            assert (await followed.next()).data["queuePosition"] == 1


@pytest.mark.usefixtures("notices_only")
async def test_it_looks_twice_and_then_at_a_notice(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = await starting(api)
    looks = 0
    get = api.container.store.get

    async def counted(session_id: str) -> Any:
        nonlocal looks
        looks += 1
        return await get(session_id)

    monkeypatch.setattr(api.container.store, "get", counted)
    async with stream(api.app, events_of(session_id)) as followed:
        await followed.next()
        await heard(api)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert looks in {2, 3}, "at once, when it listens, and when the subscription stands"


@pytest.mark.usefixtures("looks_often")
async def test_following_keeps_the_place(api: ApiUnderTest) -> None:
    session_id = await starting(api)
    await api.container.client.hset(f"session:{session_id}", "lastSeenAt", "1")
    async with stream(api.app, events_of(session_id)):
        async with asyncio.timeout(10):
            while float(str(await api.container.client.hget(f"session:{session_id}", "lastSeenAt"))) < 2:
                await asyncio.sleep(0.005)


async def test_the_estimate_is_told_while_it_starts(api: ApiUnderTest) -> None:
    session_id = await starting(api)
    async with stream(api.app, events_of(session_id)) as followed:
        assert (await followed.next()).data["estimatedWaitMs"] == 400
    content = (await api.client.get(f"/api/session/{session_id}")).json()
    assert content["estimatedWaitMs"] == 400
    await api.container.store.finish(session_id, SessionState.ENDED, "x")
    assert (await api.client.get(f"/api/session/{session_id}")).json()["estimatedWaitMs"] is None


async def test_an_unknown_session(api: ApiUnderTest) -> None:
    async with stream(api.app, events_of(UNKNOWN)) as followed:
        assert (followed.status, followed.headers["content-type"]) == (404, "application/problem+json")


async def test_a_store_that_is_away_at_the_beginning(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(api.container.store, "get", away)
    async with stream(api.app, events_of(UNKNOWN)) as followed:
        assert (followed.status, followed.headers["retry-after"]) == (503, "2")


@pytest.mark.usefixtures("looks_often")
async def test_a_stream_outlasts_a_store_that_is_away(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    session_id = await assigned(api)
    looks = 0
    get = api.container.store.get

    async def away(*_: object) -> None:
        nonlocal looks
        looks += 1
        raise StoreUnavailableError

    async with stream(api.app, events_of(session_id)) as followed:
        await followed.next()
        with monkeypatch.context() as patch:
            patch.setattr(api.container.store, "get", away)
            async with asyncio.timeout(10):
                while looks < 3:
                    await asyncio.sleep(0.005)
            assert not followed.task.done()
        assert api.container.store.get == get
        await api.container.store.mark_active(session_id)
        assert (await followed.next()).data["status"] == "active"


@pytest.mark.usefixtures("looks_often")
async def test_a_record_that_is_lost_for_a_moment(api: ApiUnderTest) -> None:
    """Redis came back empty: the host writes the sessions of its agents anew."""
    session_id = await assigned(api)
    key = f"session:{session_id}"
    record = await api.container.client.hgetall(key)
    async with stream(api.app, events_of(session_id)) as followed:
        await followed.next()
        await api.container.client.delete(key)
        for _ in range(20):
            await asyncio.sleep(0.005)
        assert not followed.task.done()
        await api.container.client.hset(key, mapping=record)
        await api.container.store.mark_active(session_id)
        assert (await followed.next()).data["status"] == "active"


@pytest.mark.usefixtures("looks_often")
async def test_a_record_that_is_lost_for_good(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_events, "LOST_S", 0.02)
    session_id = await assigned(api)
    async with stream(api.app, events_of(session_id)) as followed:
        await followed.next()
        await api.container.client.delete(f"session:{session_id}")
        assert await followed.rest() == []


# --- how it ends ---------------------------------------------------------------------------------------


async def nothing_is_left(api: ApiUnderTest, before: set[asyncio.Task[Any]]) -> None:
    assert len(api.app.state.api.streams) == 0
    assert api.container.changes._listeners == {}
    async with asyncio.timeout(10):
        while left := asyncio.all_tasks() - before:  # the subscription's, which ends by itself
            await asyncio.wait(left)


async def test_nothing_is_left_of_a_client_that_went_away(api: ApiUnderTest) -> None:
    session_id = await assigned(api)
    before = asyncio.all_tasks()
    async with stream(api.app, events_of(session_id)) as first, stream(api.app, events_of(session_id)) as second:
        await first.next()
        await second.next()
        assert len(api.app.state.api.streams) == 2
        text = (await api.client.get("/metrics")).text
        assert "greenroom_event_streams 2.0" in text
        await first.gone()
        assert len(api.app.state.api.streams) == 1
        assert api.container.changes._listeners
    await nothing_is_left(api, before)


async def test_nothing_is_left_of_a_client_that_did_not_read(api: ApiUnderTest) -> None:
    session_id = await assigned(api)
    before = asyncio.all_tasks()
    async with stream(api.app, events_of(session_id), stuck=True), stream(api.app, "/api/events", ADMIN, stuck=True):
        assert len(api.app.state.api.streams) == 2
    await nothing_is_left(api, before)


async def test_nothing_is_left_of_a_session_that_ended(api: ApiUnderTest) -> None:
    session_id = await assigned(api)
    before = asyncio.all_tasks()
    async with stream(api.app, events_of(session_id)) as followed:
        await followed.next()
        await api.client.delete(f"/api/session/{session_id}")
        await followed.rest()
        await nothing_is_left(api, before)


async def test_a_server_that_stops_ends_its_streams_and_takes_no_more(api: ApiUnderTest) -> None:
    session_id = await assigned(api)
    async with stream(api.app, events_of(session_id)) as followed, stream(api.app, "/api/events", ADMIN) as console:
        await followed.next()
        await console.next()
        api.app.state.api.streams.close()
        await followed.rest()
        await console.rest()
        assert followed.ended
        assert console.ended
        async with stream(api.app, events_of(session_id)) as late:
            await late.rest()
            assert late.ended


async def test_a_stream_has_its_age(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "STREAM_AGE_S", 0.05)
    session_id = await assigned(api)
    async with stream(api.app, events_of(session_id)) as followed:
        assert len(await followed.rest()) == 1
        assert followed.ended


async def test_what_is_silent_is_kept_alive(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_events, "LOOK_S", 0.005)
    monkeypatch.setattr(streams, "KEEP_ALIVE_S", 0.02)
    session_id = await assigned(api)
    async with stream(api.app, events_of(session_id)) as followed:
        await followed.comment()
        await followed.comment()


async def test_no_comment_before_its_time(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_events, "LOOK_S", 0.001)
    session_id = await assigned(api)
    async with stream(api.app, events_of(session_id)) as followed:
        await followed.next()
        for _ in range(30):
            await asyncio.sleep(0.001)
        await api.container.store.mark_active(session_id)
        await followed.next()
        assert followed.comments == 0


async def refused(api: ApiUnderTest, path: str, headers: dict[str, str] | None = None) -> None:
    async with stream(api.app, path, headers) as one_more:
        assert (one_more.status, int(one_more.headers["retry-after"]) > 0) == (503, True)


async def test_too_many_streams(api: ApiUnderTest) -> None:
    few = Streams(most=1, most_admin=1)
    object.__setattr__(api.app.state.api, "streams", few)
    session_id = await assigned(api)
    async with stream(api.app, events_of(session_id)) as first:
        await first.next()
        await refused(api, events_of(session_id))
        async with stream(api.app, "/api/events", ADMIN) as console:
            assert console.status == 200, "callers do not lock the operator out"
            await refused(api, "/api/events", ADMIN)
            await refused(api, events_of(session_id), ADMIN)
    async with stream(api.app, events_of(session_id)) as next_one:
        assert next_one.status == 200


async def test_a_head_request_opens_none(api: ApiUnderTest) -> None:
    session_id = await assigned(api)
    assert (await api.client.head(events_of(session_id))).status_code == 405


def test_one_session_does_not_take_all() -> None:
    streams = Streams(most=3, most_of_one=2)
    places = [streams.take("a"), streams.take("a")]
    with pytest.raises(TooManyStreamsError):
        streams.take("a")
    streams.take("b")
    with pytest.raises(TooManyStreamsError):
        streams.take("c")
    for _ in range(2):  # twice is as once
        places[0].give_back()
    assert len(streams) == 2
    streams.take("c")


async def test_places_are_taken_before_anything_is_awaited(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    object.__setattr__(api.app.state.api, "streams", Streams(most=1))
    session_id = await assigned(api)
    get, asked, go = api.container.store.get, asyncio.Event(), asyncio.Event()

    async def slow(session_id: str) -> Any:
        asked.set()
        await go.wait()
        return await get(session_id)

    monkeypatch.setattr(api.container.store, "get", slow)
    first = asyncio.create_task(api.client.get(events_of(session_id)))
    try:
        async with asyncio.timeout(10):
            await asked.wait()
            await refused(api, events_of(session_id))
    finally:
        first.cancel()
        await asyncio.wait([first])
    assert len(api.app.state.api.streams) == 0, "one who went away gives it back"


async def test_a_place_of_which_no_stream_comes_is_given_back(api: ApiUnderTest) -> None:
    async with stream(api.app, events_of(UNKNOWN)) as followed:
        assert followed.status == 404
    assert len(api.app.state.api.streams) == 0


async def test_a_client_that_does_not_read_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streams, "LAST_SEND_S", 0.01)
    some = Streams()

    async def nothing() -> AsyncGenerator[bytes, None]:
        return
        yield b""

    async def receive() -> Message:
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        if message["type"] == "http.response.body" and not message.get("more_body"):
            await asyncio.Event().wait()

    answer = some.response(nothing(), some.take("a"))
    async with asyncio.timeout(5):
        await answer({"type": "http", "asgi": {"spec_version": "2.3"}}, receive, send)
    assert len(some) == 0
