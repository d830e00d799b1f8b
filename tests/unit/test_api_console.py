"""What the console follows: everything as it happens, the last hour, one session's life."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from contract.messages import Turn
from contract.states import SessionState
from orchestrator.api import live, sampler
from orchestrator.api.live import Watcher
from orchestrator.domain.errors import StoreUnavailableError
from tests.support.api import ADMIN, ApiUnderTest, api_under_test
from tests.support.sse import stream

UNKNOWN = "prewarm_00000000000000000000000000000000"
EVERYTHING = "/api/events"


@pytest.fixture
async def api(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiUnderTest]:
    monkeypatch.setattr(sampler, "EVERY_S", 3600)  # samples are taken where a test takes them
    async with api_under_test() as api:
        yield api


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second is as short as a test wants it."""
    monkeypatch.setattr(live, "LOOK_EVERY_S", 0.01)


async def healthy(api: ApiUnderTest, warm: int = 2) -> list[str]:
    ids = await api.warm(warm)
    await api.container.store.refill_begun()
    return ids


async def sampled(api: ApiUnderTest, at: str = "1.0") -> None:
    """As if this had been the moment of the newest sample: now there may be another."""
    await api.container.client.hset("stats:sampled", "slot", at)
    assert await api.container.statistics.sample(3)


def ready_in(overview: dict[str, Any]) -> int | None:
    """None where a look took too long, as it may on a busy machine: then it says that the store is away."""
    return None if overview["pool"] is None else int(overview["pool"]["ready"])


# --- everything, as it happens -------------------------------------------------------------------------


async def test_an_overview_comes_at_once(api: ApiUnderTest) -> None:
    await healthy(api)
    await api.start()
    async with stream(api.app, EVERYTHING, ADMIN) as console:
        assert console.headers["content-type"].startswith("text/event-stream")
        event = await console.next()
    data = event.data
    assert event.name == "overview"
    assert set(data) == {
        "at", "health", "pool", "sessions", "capacity", "stats", "hosts", "queue", "version",
    }  # fmt: skip
    assert abs(data["at"] - await api.container.store.now()) < 60
    assert (data["health"]["status"], data["health"]["reason"]) == ("healthy", None)
    assert data["health"]["parts"]["redis"] == {"ok": True, "detail": "answers"}
    assert data["pool"] == {
        "target": 3, "floor": 3, "reason": "floor 3; no spawn was measured yet",
        "demand": data["pool"]["demand"], "ready": 1, "starting": 0, "converged": False,
        "waiting": 0, "queued": 0, "max": 10,
        "agents": [{
            "agent": "default", "target": 3, "floor": 3, "ready": 1, "starting": 0, "max": 10, "converged": False,
            "reason": "floor 3; no spawn was measured yet",
        }],
    }  # fmt: skip
    assert data["sessions"] == {"ready": 2, "starting": 0, "active": 0, "pool": 1, "total": 2}
    assert data["capacity"] == {"current": 2, "max": 10, "available": 8}
    assert data["stats"] == {"totalSpawned": 0, "totalAssigned": 1}
    assert data["hosts"] == [
        {**host, "heartbeatAgeS": data["hosts"][0]["heartbeatAgeS"]}
        for host in (await api.client.get("/api/hosts", headers=ADMIN)).json()["hosts"]
    ]
    assert data["queue"] == []
    assert data["version"] == api.app.version


@pytest.mark.usefixtures("quick")
async def test_a_change_is_told(api: ApiUnderTest) -> None:
    ids = await healthy(api)
    async with stream(api.app, EVERYTHING, ADMIN) as console:
        while ready_in((await console.next("overview")).data) != 2:
            pass
        assert (await console.next("sessions")).data == {"ids": [], "more": True}, "what was before nobody heard"
        taken = (await api.start()).json()["sessionId"]
        changed: set[str] = set()
        ready: int | None = None
        while not (changed and ready == 1):
            event = await console.next()  # in either order: the claim may come after the look
            if event.name == "sessions":
                changed |= set(event.data["ids"])
            if event.name == "overview":
                ready = ready_in(event.data)
        assert changed == {taken}
        assert taken in ids


@pytest.mark.usefixtures("quick")
async def test_what_has_not_changed_is_told_after_a_while(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "TELL_EVERY_S", 3600)
    await healthy(api)
    looks = 0
    look = api.container.overview.look

    async def counted() -> Any:
        nonlocal looks
        looks += 1
        return await look()

    monkeypatch.setattr(api.container.overview, "look", counted)
    async with stream(api.app, EVERYTHING, ADMIN) as console:
        await console.next("overview")
        await console.next("sessions")
        async with asyncio.timeout(10):
            while looks < 10:
                await asyncio.sleep(0.005)
        assert console.waiting() == 0
        monkeypatch.setattr(live, "TELL_EVERY_S", 0.02)
        assert (await console.next("overview")).data["pool"]["ready"] == 2
    assert looks >= 10


async def test_all_consoles_share_one_look(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    await healthy(api)
    looks = 0
    look = api.container.overview.look

    async def counted() -> Any:
        nonlocal looks
        looks += 1
        return await look()

    monkeypatch.setattr(api.container.overview, "look", counted)
    async with stream(api.app, EVERYTHING, ADMIN) as first:
        await first.next("overview")
        async with stream(api.app, EVERYTHING, ADMIN) as second, stream(api.app, EVERYTHING, ADMIN) as third:
            await second.next("overview")
            await third.next("overview")
            assert looks == 1
    before = asyncio.all_tasks()
    async with asyncio.timeout(10):
        while api.app.state.api.live._ending:
            await asyncio.sleep(0)
    assert api.container.changes._listeners == {}
    assert len(asyncio.all_tasks() - before) == 0


@pytest.mark.usefixtures("quick")
async def test_a_new_sample_is_told_once(api: ApiUnderTest) -> None:
    await healthy(api)
    await sampled(api)
    async with stream(api.app, EVERYTHING, ADMIN) as console:
        await console.next("overview")
        await sampled(api)
        sample = (await console.next("sample")).data
        history = (await api.client.get("/api/pool/history", headers=ADMIN)).json()["samples"]
        assert [sample] == history[1:], "the one before was there before the console"
        await sampled(api)
        assert (await console.next("sample")).data["at"] > sample["at"]


@pytest.mark.usefixtures("quick")
async def test_the_queue_is_told_with_places_as_callers_see_them() -> None:
    async with api_under_test(max_bots=1, prewarm_pool_size=0) as api:
        ids = [(await api.start({"userId": user})).json()["sessionId"] for user in ("ada", "<b>", "cy")]
        async with stream(api.app, EVERYTHING, ADMIN) as console:
            data = (await console.next("overview")).data
            assert [(q["sessionId"], q["userId"], q["position"]) for q in data["queue"]] == [
                (ids[0], "ada", 1), (ids[1], "<b>", 2), (ids[2], "cy", 3),
            ]  # fmt: skip
            assert all(0 <= q["waitingS"] < 60 for q in data["queue"])
            assert (data["pool"]["starting"], data["pool"]["waiting"], data["pool"]["queued"]) == (0, 2, 3)


@pytest.mark.usefixtures("quick")
async def test_while_the_store_is_away(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    await healthy(api)

    async def away(*_: object) -> None:
        raise StoreUnavailableError

    async with stream(api.app, EVERYTHING, ADMIN) as console:
        await console.next("overview")
        with monkeypatch.context() as patch:
            patch.setattr(api.container.store, "counts", away)
            patch.setattr(api.container.lookup, "queue", away)
            data = (await console.next("overview")).data
            while data["health"]["status"] == "healthy":
                data = (await console.next("overview")).data
            assert "redis: does not answer" in data["health"]["reason"]
            of_redis = ("pool", "sessions", "capacity", "stats", "hosts", "queue")
            assert [data[name] for name in of_redis] == [None] * 6
            assert data["at"] > 0
        assert (await console.next("overview")).data["pool"]["ready"] == 2


async def test_a_store_that_is_away_is_not_asked_more(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailableError

    async def asked(*_: object) -> None:
        raise AssertionError("a second time-out")

    monkeypatch.setattr(api.container.store, "counts", away)
    monkeypatch.setattr(api.container.lookup, "queue", asked)
    view = await api.container.overview.look()
    assert (view.queue, view.sample) == (None, None)


async def test_a_look_that_breaks_is_not_the_end(
    api: ApiUnderTest, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    await healthy(api)
    look, broken = api.container.overview.look, True

    async def sometimes() -> Any:
        nonlocal broken
        if broken:
            broken = False
            raise RuntimeError("a mistake of ours")
        return await look()

    monkeypatch.setattr(api.container.overview, "look", sometimes)
    async with stream(api.app, EVERYTHING, ADMIN) as console:
        while ready_in((await console.next("overview")).data) != 2:
            pass
    assert not broken


async def test_a_slow_console_is_told_the_newest_and_a_bounded_list() -> None:
    watcher = Watcher()
    for number in range(3):
        watcher.tell("overview", f"{number}")
        watcher.tell("sample", f"{number}")
    watcher.tell_changes([f"s{number}" for number in range(150)], False)
    watcher.tell_changes([f"s{number}" for number in range(100, 250)], False)
    text = (await watcher.events(0)).decode()
    assert text.startswith("event: overview\ndata: 2\n\nevent: sample\ndata: 2\n\nevent: sessions\ndata: ")
    assert text.count('"s') == 200
    assert '"more":true' in text
    assert await watcher.events(0) == b""


# --- the last hour -------------------------------------------------------------------------------------


async def test_the_history(api: ApiUnderTest) -> None:
    await api.warm(2)
    api.app.state.api.starts.note("warm", 0.004)
    api.app.state.api.starts.note("cold", 0.02)
    content = (await api.client.get("/api/pool/history", headers=ADMIN)).json()
    assert content == {"success": True, "everyS": 5, "samples": []}
    await sampled(api)
    warm, cold, took_ms = api.app.state.api.starts.take()
    await api.container.statistics.note_starts(warm, cold, took_ms)
    await sampled(api)
    first, second = (await api.client.get("/api/pool/history", headers=ADMIN)).json()["samples"]
    assert (first["warmHitRate"], first["startP50Ms"]) == (None, None)
    assert second == {
        "at": second["at"], "ready": 2, "target": 3, "starting": 0, "active": 0, "waiting": 0, "warmHitRate": 0.5,
        "startP50Ms": 4.0, "startP95Ms": 20.0, "spawnP50Ms": None, "refillLagMs": None,
    }  # fmt: skip
    assert second["at"] >= first["at"]


async def test_no_more_history_than_was_asked_for(api: ApiUnderTest) -> None:
    for _ in range(3):
        await sampled(api)
    old = json.loads(str(await api.container.client.lindex("stats:samples", 1)))
    old["at"] -= 4000  # there was no API for a while
    await api.container.client.lset("stats:samples", 1, json.dumps(old))
    for seconds, number in ((5, 1), (15, 2), (3600, 2)):
        content = (await api.client.get(f"/api/pool/history?seconds={seconds}", headers=ADMIN)).json()
        assert len(content["samples"]) == number, seconds


async def test_the_history_is_by_the_stores_clock(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    await sampled(api)
    now = await api.container.store.now()

    async def later() -> float:
        return now + 4000

    monkeypatch.setattr(api.container.store, "now", later)
    assert (await api.client.get("/api/pool/history", headers=ADMIN)).json()["samples"] == []


@pytest.mark.parametrize("seconds", ["4", "3601", "x", "-1", "5.5"])
async def test_a_time_that_is_none(api: ApiUnderTest, seconds: str) -> None:
    answer = await api.client.get(f"/api/pool/history?seconds={seconds}", headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


# --- one session's life --------------------------------------------------------------------------------


async def talked(api: ApiUnderTest) -> str:
    [session_id] = await api.warm()
    store = api.container.store
    await api.start({"userId": "ada"})
    await api.client.post("/api/token", json={"sessionId": session_id, "userName": "Ada"})
    await store.mark_active(session_id)
    await store.add_turn(session_id, Turn(role="user", text="<b>hello</b>", at=1.5))
    await store.add_turn(session_id, Turn(role="assistant", text="Hi.", at=2.5, interrupted=True, latency_s=0.4321))
    return session_id


async def test_what_was_said(api: ApiUnderTest) -> None:
    session_id = await talked(api)
    content = (await api.client.get(f"/api/session/{session_id}/turns")).json()
    assert content == {
        "success": True,
        "sessionId": session_id,
        "turns": [
            {"role": "user", "text": "<b>hello</b>", "at": 1.5, "interrupted": False, "latencyMs": None},
            {"role": "assistant", "text": "Hi.", "at": 2.5, "interrupted": True, "latencyMs": 432.1},
        ],
    }


async def test_a_life_in_its_order(api: ApiUnderTest) -> None:
    session_id = await talked(api)
    store = api.container.store
    content = (await api.client.get(f"/api/session/{session_id}/life", headers=ADMIN)).json()
    assert [event["name"] for event in content["events"]] == ["created", "ready", "assigned", "token", "joined"]
    assert content["turns"] == [
        {"role": "user", "at": 1.5, "latencyMs": None, "interrupted": False, "characters": 12},
        {"role": "assistant", "at": 2.5, "latencyMs": 432.1, "interrupted": True, "characters": 3},
    ]
    assert (content["click"], content["endReason"], content["error"]) == (None, None, None)
    marks = {"click": 0, "answer": 12, "firstSound": 700.5}
    await api.client.post(f"/api/session/{session_id}/timeline", json={"marks": marks})
    await store.touch(session_id, user_left=True)
    await store.finish(session_id, SessionState.FAILED, "it broke", code="agent_died")
    content = (await api.client.get(f"/api/session/{session_id}/life", headers=ADMIN)).json()
    assert [event["name"] for event in content["events"]][-3:] == ["joined", "left", "failed"]
    times = [event["at"] for event in content["events"]]
    assert times == sorted(times)
    assert content["click"] == {"marks": marks}
    assert (content["endReason"], content["error"]) == ("it broke", "agent_died: it broke")


@pytest.mark.parametrize("part", ["turns", "life"])
async def test_an_unknown_sessions_life(api: ApiUnderTest, part: str) -> None:
    answer = await api.client.get(f"/api/session/{UNKNOWN}/{part}", headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


async def test_looking_at_a_life_does_not_keep_a_place(api: ApiUnderTest) -> None:
    session_id = (await api.start()).json()["sessionId"]
    await api.container.client.hset(f"session:{session_id}", "lastSeenAt", "1")
    await api.client.get(f"/api/session/{session_id}/life", headers=ADMIN)
    assert await api.container.client.hget(f"session:{session_id}", "lastSeenAt") == "1"


# --- what the user's page measured ---------------------------------------------------------------------


async def posted(api: ApiUnderTest, session_id: str, marks: Any) -> Any:
    return await api.client.post(f"/api/session/{session_id}/timeline", json={"marks": marks})


def measured(text: str) -> dict[str, float]:
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("greenroom_click")]
    return {name: float(value) for name, _, value in lines if "_sum" in name or "_count" in name}


async def test_each_part_is_measured_once(api: ApiUnderTest) -> None:
    session_id = await talked(api)
    marks = {"click": 0, "answer": 10, "token": 10, "connected": 250, "agentSeen": 300, "firstSound": 800}
    assert (await posted(api, session_id, marks)).status_code == 204
    assert (await posted(api, session_id, {"click": 0, "answer": 9000})).status_code == 204
    assert measured((await api.client.get("/metrics")).text) == pytest.approx(
        {
            "greenroom_click_to_sound_seconds_count": 1,
            "greenroom_click_to_sound_seconds_sum": 0.8,
            **{
                f'greenroom_click_part_seconds_count{{part="{part}"}}': 1
                for part in ("answer", "token", "connected", "agent_seen", "first_sound")
            },
            'greenroom_click_part_seconds_sum{part="answer"}': 0.01,
            'greenroom_click_part_seconds_sum{part="token"}': 0.0,
            'greenroom_click_part_seconds_sum{part="connected"}': 0.24,
            'greenroom_click_part_seconds_sum{part="agent_seen"}': 0.05,
            'greenroom_click_part_seconds_sum{part="first_sound"}': 0.5,
        }
    )


async def test_a_part_counts_from_the_one_that_is_there(api: ApiUnderTest) -> None:
    session_id = await talked(api)
    assert (await posted(api, session_id, {"click": 0, "answer": 10, "connected": 250})).status_code == 204
    found = measured((await api.client.get("/metrics")).text)
    assert found['greenroom_click_part_seconds_sum{part="connected"}'] == pytest.approx(0.24)
    assert found["greenroom_click_to_sound_seconds_count"] == 0


@pytest.mark.parametrize(
    ("marks", "field"),
    [
        ({"click": 1, "answer": 2}, "marks.click"),
        ({"answer": 2}, "marks.click"),
        ({"click": 0}, "marks.answer"),
        ({"click": 0, "answer": -1}, "marks.answer"),
        ({"click": 0, "answer": 600_001}, "marks.answer"),
        ({"click": 0, "answer": "12"}, "marks.answer"),
        ({"click": 0, "answer": True}, "marks.answer"),
        ({"click": 0, "answer": 12, "token": 11}, "marks.token"),
        ({"click": 0, "answer": 12, "agentSeen": 20, "firstSound": 19.9}, "marks.firstSound"),
        ({"click": 0, "answer": 12, "agent_seen": 20}, "marks.agent_seen"),
        ([], "marks"),
        (None, "marks"),
    ],
)
async def test_marks_that_are_none(api: ApiUnderTest, marks: Any, field: str) -> None:
    session_id = await talked(api)
    answer = await posted(api, session_id, marks)
    content = answer.json()
    assert (answer.status_code, content["code"]) == (422, "invalid_request")
    assert [error["field"] for error in content["errors"]] == [field]
    session = await api.container.store.get(session_id)
    assert session is not None
    assert session.marks is None


async def test_marks_of_nobodys_session(api: ApiUnderTest) -> None:
    [waiting] = await api.warm()
    for session_id in (UNKNOWN, waiting):
        answer = await posted(api, session_id, {"click": 0, "answer": 1})
        assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


# --- the list ------------------------------------------------------------------------------------------


async def found(api: ApiUnderTest, **params: str) -> list[str]:
    content = (await api.client.get("/api/sessions", params=params, headers=ADMIN)).json()
    return [session["sessionId"] for session in content["sessions"]]


async def test_looking_for_sessions(api: ApiUnderTest) -> None:
    first, second = await api.warm(2)
    await api.start({"userId": "ada"})
    cold = [(await api.start({"userId": "bob"})).json()["sessionId"] for _ in range(2)][1]
    taken = await found(api, q="ada")
    assert taken in ([first], [second])
    assert await found(api, q="bo") == []
    assert set(await found(api, q="prewarm_")) == {first, second}
    assert await found(api, q=first[:20]) == [first]
    assert await found(api, q="pre") == [], "three characters are the beginning of too many"
    assert cold in await found(api, q="bob")
    assert await found(api, q="bob", status="ended") == []
    assert len(await found(api, q="prewarm_", limit="1")) == 1


async def test_a_search_in_pages(api: ApiUnderTest) -> None:
    ids = set(await api.warm(5))
    seen: list[str] = []
    params = {"q": "prewarm_", "limit": "2"}
    for _ in range(3):
        content = (await api.client.get("/api/sessions", params=params, headers=ADMIN)).json()
        seen += [session["sessionId"] for session in content["sessions"]]
        params["cursor"] = content["cursor"]
    assert content["cursor"] is None
    assert (len(seen), set(seen)) == (5, ids)


@pytest.mark.parametrize("params", [{"q": "x" * 129}, {"q": "abcd", "cursor": "!"}])
async def test_a_search_that_is_none(api: ApiUnderTest, params: dict[str, str]) -> None:
    assert (await api.client.get("/api/sessions", params=params, headers=ADMIN)).status_code == 422


async def test_an_agent_that_waits_is_prewarmed(api: ApiUnderTest) -> None:
    await api.warm()
    content = (await api.client.get("/api/sessions", headers=ADMIN)).json()
    assert [session["prewarmed"] for session in content["sessions"]] == [True]
    await api.start()
    await api.start()
    content = (await api.client.get("/api/sessions?status=starting", headers=ADMIN)).json()
    assert [session["prewarmed"] for session in content["sessions"]] == [False]
