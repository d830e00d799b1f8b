from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from contract import keys
from orchestrator.adapters.redis_client import Client
from orchestrator.domain.errors import StoreUnavailableError
from tests.support.api import ADMIN, LIVEKIT_SECRET, ApiUnderTest, api_under_test


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with api_under_test() as api:
        yield api


async def _settled(api: ApiUnderTest) -> None:
    await api.app.state.api.background.aclose()


async def test_a_waiting_agent_is_handed_out(api: ApiUnderTest) -> None:
    [waiting] = await api.warm()
    answer = await api.start()
    content = answer.json()
    assert answer.status_code == 200
    assert content == {
        "success": True, "sessionId": waiting, "status": "ready", "message": "Assigned pre-warmed agent",
        "prewarmed": True, "latencyMs": content["latencyMs"], "latency": content["latency"],
    }  # fmt: skip
    assert content["latency"].endswith("ms")


async def test_with_a_name_it_carries_all_that_a_browser_needs(api: ApiUnderTest) -> None:
    [waiting] = await api.warm()
    join = (await api.start({"userId": "ada lovelace", "userName": "Ada"})).json()["join"]
    claims = jwt.decode(join["token"], LIVEKIT_SECRET, algorithms=["HS256"])
    assert (join["room"], join["identity"]) == (waiting, "user-ada_lovelace")
    assert (claims["sub"], claims["name"], claims["video"]["room"]) == ("user-ada_lovelace", "Ada", waiting)
    assert join["expiresAt"] == claims["exp"]


async def test_the_settings_bind_at_the_claim(api: ApiUnderTest) -> None:
    [waiting] = await api.warm()
    await api.start({"userId": "u", "voice": "Ashley", "language": "pt-BR", "metadata": {"plan": ["pro"]}})
    kept = await api.container.client.hget(f"session:{waiting}", "assignment")  # type: ignore[misc]
    assert '"voice":"Ashley"' in str(kept)
    assert '"metadata":{"plan":["pro"]}' in str(kept)


async def test_a_claim_has_the_pool_refilled(api: ApiUnderTest) -> None:
    await api.warm(2)
    await api.start()
    await api.start()
    await _settled(api)
    assert api.queue.refills == 1  # the second came while one was on its way


async def test_a_refill_that_cannot_be_queued_hurts_nobody(api: ApiUnderTest) -> None:
    await api.warm()
    api.queue.away = True
    answer = await api.start()
    await _settled(api)
    assert answer.status_code == 200


async def test_without_one_an_agent_is_started(api: ApiUnderTest) -> None:
    answer = await api.start({"userId": "u", "userName": "U"})
    content = answer.json()
    assert answer.status_code == 202
    assert content["status"] == "starting"
    assert content["prewarmed"] is False
    assert content["queuePosition"] == 1
    assert (content["estimatedWait"], content["estimatedWaitMs"]) == ("0.4s", 400)
    assert content["taskId"]
    assert "join" not in content
    assert api.queue.spawns == [(content["sessionId"], True)]


async def test_past_the_queue_it_is_refused_with_a_time_to_come_back() -> None:
    async with api_under_test(max_bots=1, prewarm_pool_size=0, max_queue=1) as api:
        assert [(await api.start()).status_code for _ in range(2)] == [202, 202]
        answer = await api.start()
        assert (answer.status_code, answer.json()["code"]) == (503, "at_capacity")
        assert int(answer.headers["retry-after"]) > 0


async def test_who_went_away_keeps_nobody_out_for_long() -> None:
    async with api_under_test(max_bots=1, prewarm_pool_size=0, max_queue=1) as api:
        _, gone = [(await api.start()).json()["sessionId"] for _ in range(2)]
        await api.container.client.hset(keys.session(gone), "lastSeenAt", "1")
        assert [(await api.start()).status_code for _ in range(2)] == [503, 503]
        await _settled(api)
        assert api.queue.refills == 1  # one for all who are refused within a second
        await api.container.pool.refill()
        answer = await api.start()
        assert (answer.status_code, answer.json()["queuePosition"]) == (202, 2)


async def test_where_the_hosts_have_no_room_starts_wait_and_then_are_refused_at_no_cost() -> None:
    async with api_under_test(max_queue=1, prewarm_pool_size=0) as api:
        await api.heartbeat("h1", capacity=0)
        pings = api.rooms.pings
        waits = await api.start()
        assert (waits.status_code, waits.json()["queuePosition"]) == (202, 1)
        told = waits.json()
        assert (told["estimatedWait"], told["estimatedWaitMs"]) == (None, None), "no call goes on that could end"
        refused = await api.start()
        assert (refused.status_code, refused.json()["code"]) == (503, "at_capacity")
        assert int(refused.headers["retry-after"]) > 0
        assert (api.queue.spawns, api.rooms.pings) == ([], pings), "no spawn, and LiveKit was not asked"
        content = (await api.client.get("/api/health")).json()
        assert content["capacity"] == {"current": 0, "max": 0, "available": 0}


async def test_while_every_agent_is_busy_the_wait_is_that_for_a_call_to_end() -> None:
    async with api_under_test(max_bots=1, max_queue=1, prewarm_pool_size=0) as api:
        for ends in (True, False):
            await api.warm()
            session_id = (await api.start()).json()["sessionId"]
            began = await api.container.store.now() - 40
            await api.container.client.hset(keys.session(session_id), "assignedAt", f"{began:.6f}")
            if ends:
                await api.container.sessions.end(session_id, "ended by its caller")
        waits = (await api.start()).json()
        assert (waits["queuePosition"], waits["estimatedWait"]) == (1, "40.4s")
        assert waits["estimatedWaitMs"] == pytest.approx(40_400, abs=50)
        looked = (await api.client.get(f"/api/session/{waits['sessionId']}")).json()
        assert looked["estimatedWaitMs"] == waits["estimatedWaitMs"]
        refused = await api.start()
        assert (refused.status_code, refused.json()["code"]) == (503, "at_capacity")
        assert refused.headers["retry-after"] in {"40", "41"}


async def test_an_agent_that_is_silent_is_evicted_and_the_next_one_handed_out(api: ApiUnderTest) -> None:
    await api.warm(2)
    api.container.hosts.silent = 1  # type: ignore[attr-defined]
    answer = await api.start()
    assert answer.status_code == 200
    counts = await api.container.store.counts(3)
    assert counts.dead_claims == 1
    await _settled(api)
    assert api.queue.refills == 1  # the dead one's claim was told to trigger it


async def test_when_none_answers_one_is_started(api: ApiUnderTest) -> None:
    await api.warm(2)
    api.container.hosts.silent = 9  # type: ignore[attr-defined]
    assert (await api.start()).status_code == 202
    await _settled(api)
    assert api.queue.refills == 1


# --- idempotency ---------------------------------------------------------------------------------------


async def test_the_same_key_gives_the_same_answer(api: ApiUnderTest) -> None:
    await api.warm(2)
    body, headers = {"userId": "u", "userName": "U"}, {"Idempotency-Key": "k-1"}
    first = await api.start(body, headers=headers)
    again = await api.start(body, headers=headers)
    assert first.status_code == again.status_code == 200
    assert first.content == again.content


async def test_a_cold_start_is_answered_the_same_too(api: ApiUnderTest) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first = await api.start(headers=headers)
    await api.warm()
    again = await api.start(headers=headers)
    assert first.status_code == again.status_code == 202
    assert first.content == again.content
    assert len(api.queue.spawns) == 1


async def test_the_same_key_with_another_body_conflicts(api: ApiUnderTest) -> None:
    await api.warm(2)
    headers = {"Idempotency-Key": "k-1"}
    await api.start({"userId": "a"}, headers=headers)
    answer = await api.start({"userId": "b"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "idempotency_conflict")


async def test_duplicates_at_once_get_one_agent(api: ApiUnderTest) -> None:
    await api.warm(5)
    body, headers = {"userId": "u", "userName": "U"}, {"Idempotency-Key": "k-1"}
    answers = await asyncio.gather(*(api.start(body, headers=headers) for _ in range(8)))
    assert len({answer.content for answer in answers}) == 1
    assert (await api.container.store.counts(3)).pool_ready == 4


async def test_no_token_is_kept(api: ApiUnderTest) -> None:
    await api.warm()
    answer = await api.start({"userId": "u", "userName": "U"}, headers={"Idempotency-Key": "k"})
    client: Client = api.container.client
    keys = [key async for key in client.scan_iter("idem:*")]
    kept = [await client.hgetall(key) for key in keys]  # type: ignore[misc]
    assert answer.json()["join"]["token"] not in str(kept)


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 201, "caf\xe9"])
async def test_a_key_that_is_none(api: ApiUnderTest, key: str) -> None:
    answer = await api.start(headers={"Idempotency-Key": key.encode("latin-1")})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "Idempotency-Key"


# --- bad input -----------------------------------------------------------------------------------------

DEEP: dict[str, Any] = {"a": {"b": {"c": {"d": {"e": 1}}}}}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "userId"),
        ({"userId": ""}, "userId"),
        ({"userId": "   "}, "userId"),
        ({"userId": None}, "userId"),
        ({"userId": 7}, "userId"),
        ({"userId": "a\nb"}, "userId"),
        ({"userId": "a\x00b"}, "userId"),
        ({"userId": "x" * 129}, "userId"),
        ({"userId": "u", "userName": ""}, "userName"),
        ({"userId": "u", "userName": ["U"]}, "userName"),
        ({"userId": "u", "voice": "<script>"}, "voice"),
        ({"userId": "u", "language": "english please"}, "language"),
        ({"userId": "u", "correlationId": "x" * 129}, "correlationId"),
        ({"userId": "u", "systemPrompt": "x" * 8001}, "systemPrompt"),
        ({"userId": "u", "openingLine": "x" * 1001}, "openingLine"),
        ({"userId": "u", "metadata": "text"}, "metadata"),
        ({"userId": "u", "metadata": DEEP}, "metadata"),
        ({"userId": "u", "metadata": {"x": list(range(80))}}, "metadata"),
        ({"userId": "u", "metadata": {"n" * 65: 1}}, "metadata"),
        ({"userId": "u", "user_name": "U"}, "user_name"),
        ({"userId": "u", "colour": "red"}, "colour"),
        ([], "body"),
    ],
)
async def test_a_bad_field_is_named_with_its_remedy(api: ApiUnderTest, body: Any, field: str) -> None:
    answer = await api.client.post("/api/session/start", json=body)
    content = answer.json()
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert (content["success"], content["code"], content["status"]) == (False, "invalid_request", 422)
    assert [error["field"].split(".")[0] for error in content["errors"]] == [field]
    assert field in content["detail"]
    assert "should be" in content["detail"] or "remove it" in content["detail"] or "is required" in content["detail"]


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"null", b'{"userId":"\xff"}', b'{"userId":"u","metadata":{"x":NaN}}', b"[" * 9000]
)
async def test_a_body_that_is_none(api: ApiUnderTest, raw: bytes) -> None:
    answer = await api.client.post("/api/session/start", content=raw)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_body_too_large(api: ApiUnderTest) -> None:
    answer = await api.client.post("/api/session/start", content=b"x" * 16_385)
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


async def test_a_body_too_large_that_comes_in_pieces(api: ApiUnderTest) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 1024

    answer = await api.client.post("/api/session/start", content=pieces())
    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


# --- prompts -------------------------------------------------------------------------------------------

PROMPTS = [{"systemPrompt": "Be brief."}, {"openingLine": "Hello.\nHow are you?"}]


@pytest.mark.parametrize("prompt", PROMPTS)
async def test_prompts_need_somebody_known(api: ApiUnderTest, prompt: dict[str, str]) -> None:
    answer = await api.start({"userId": "u", **prompt})
    assert (answer.status_code, answer.json()["code"]) == (403, "prompt_not_allowed")


@pytest.mark.parametrize("prompt", PROMPTS)
async def test_prompts_from_a_caller_with_a_key(prompt: dict[str, str]) -> None:
    async with api_under_test(api_keys=("the-first-key-of-tests", "the-second-key-of-tests")) as api:
        answer = await api.start({"userId": "u", **prompt}, headers={"X-API-Key": "the-second-key-of-tests"})
        assert answer.status_code == 202


async def test_prompts_where_they_are_allowed() -> None:
    async with api_under_test(allow_client_prompts=True) as api:
        assert (await api.start({"userId": "u", **PROMPTS[0]})).status_code == 202


async def test_prompts_from_the_admin(api: ApiUnderTest) -> None:
    assert (await api.start({"userId": "u", **PROMPTS[0]}, headers=ADMIN)).status_code == 202


# --- when things break ---------------------------------------------------------------------------------


async def test_a_queue_that_is_away(api: ApiUnderTest) -> None:
    api.queue.away = True
    answer = await api.start()
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")


async def test_a_store_that_is_away(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailableError

    monkeypatch.setattr(api.container.store, "claim", away)
    answer = await api.start()
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
    assert answer.headers["retry-after"] == "2"


async def test_a_mistake_of_ours_tells_nothing_of_itself(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("secret-detail")

    monkeypatch.setattr(api.container.store, "claim", broken)
    answer = await api.start()
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret-detail" not in answer.text
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("field", ["userId", "userName", "correlationId"])
@pytest.mark.parametrize("line", ["\u200b", "\u3164\u2800", "\u0301", "ada\u202egpj", "a\u2066b", "a\u2028b", "\u00a0"])
async def test_a_line_that_nobody_can_read(api: ApiUnderTest, field: str, line: str) -> None:
    answer = await api.start({"userId": "u", field: line})
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert "visible" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("name", ["Ada", "Zoë", "李雷", "नमस्ते", "🙂", "عمر", "क\u094d\u200dष", "👩\u200d💻"])
async def test_a_name_of_any_script(api: ApiUnderTest, name: str) -> None:
    await api.warm()
    assert (await api.start({"userId": name, "userName": name})).status_code == 200
