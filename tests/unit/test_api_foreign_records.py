"""What an operator, or another version, wrote into Redis in a way that cannot be read: every call still answers."""

from __future__ import annotations

from collections.abc import AsyncIterator

import fakeredis
import pytest

from contract import keys
from contract.keys import HOST_FIELDS, SESSION_FIELDS
from contract.states import SessionState
from tests.support.api import ADMIN, ApiUnderTest, api_under_test, ready_agent

REPORTED = ("started_at", "agents", "warm", "capacity", "memory_total_bytes", "agent_private_bytes", "load1", "cpus")
WRONG = ("", "x", "1e999", b"\xff\xfe")
NONSENSE = ("", "x", "nan", "-inf", "-1", "1e999", "9" * 5000, "[]", "{", '{"a": "b"}', "[" * 5000, b"\xff\xfe")


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    # As the real client has it.
    client = fakeredis.FakeAsyncRedis(decode_responses=True, encoding_errors="replace")
    async with api_under_test(client=client) as api:
        yield api


def _looks(session_id: str) -> list[str]:
    own = [f"/api/session/{session_id}{part}" for part in ("", "/turns", "/life", "/logs")]
    return [
        *own, "/api/sessions", "/api/sessions?q=user_123", "/api/hosts", "/api/pool", "/api/pool/history",
        "/api/health", "/health/ready", "/metrics",
    ]  # fmt: skip


async def _answers(api: ApiUnderTest, session_id: str, *, known: bool = True) -> None:
    for path in _looks(session_id):
        answer = await api.client.get(path, headers=ADMIN)
        expected = {200} if known or session_id not in path else {404}
        assert answer.status_code in expected, (path, answer.text)


async def _in_a_call(api: ApiUnderTest) -> str:
    await api.warm(1)
    session_id: str = (await api.start()).json()["sessionId"]
    await api.container.store.mark_active(session_id)
    await api.container.store.refill_begun()
    return session_id


@pytest.mark.parametrize("field", sorted(SESSION_FIELDS))
async def test_a_session_with_a_field_that_cannot_be_read(api: ApiUnderTest, field: str) -> None:
    session_id = await _in_a_call(api)
    for value in WRONG:
        await api.container.client.hset(keys.session(session_id), field, value)
        await _answers(api, session_id, known=field != "status")
    if field == "status":
        answer = await api.client.delete(f"/api/session/{session_id}")
        assert answer.status_code == 404
        return
    assert (await api.client.post("/api/token", json={"sessionId": session_id, "userName": "A"})).status_code == 200
    assert (await api.client.delete(f"/api/session/{session_id}")).json()["changed"] is True


async def test_a_session_with_nothing_but_its_status(api: ApiUnderTest) -> None:
    await api.warm(1)
    await api.container.store.refill_begun()
    session_id = "session_00000001"
    for state in SessionState:
        await api.container.client.hset(keys.session(session_id), "status", state)
        await _answers(api, session_id)


@pytest.mark.parametrize("field", sorted({*HOST_FIELDS, *REPORTED}))
async def test_a_host_with_a_field_that_cannot_be_read(api: ApiUnderTest, field: str) -> None:
    """It is heard of again within a second, and then writes it anew: until then all others are shown and claimed."""
    session_id = await _in_a_call(api)
    for value in WRONG:
        await api.heartbeat("h2")
        await api.container.client.hset(keys.host("h2"), field, value)
        await _answers(api, session_id)
        await ready_agent(api.container, "h2")
        await ready_agent(api.container, "h1")
        assert (await api.start({"userId": "u2"})).json()["success"] is True
        await api.heartbeat("h2")


@pytest.mark.parametrize(
    "key", ["pool:target", "stats:fence", "stats:samples", "turns:session_00000001", "stats:lastRefillAt"]
)
async def test_another_value_that_cannot_be_read(api: ApiUnderTest, key: str) -> None:
    session_id = await _in_a_call(api)
    client = api.container.client
    await client.hset(keys.session("session_00000001"), "status", "active")
    for value in NONSENSE:
        if key in {"stats:samples", "turns:session_00000001"}:
            await client.rpush(key, value)
        else:
            await client.set(key, value)
        for path in [*_looks(session_id), *_looks("session_00000001")]:
            answer = await api.client.get(path, headers=ADMIN)
            late = key == "stats:lastRefillAt" and answer.status_code == 503
            assert answer.status_code == 200 or late, (path, answer.text)
    if key == "stats:fence":
        await ready_agent(api.container)
        assert (await api.start({"userId": "u2"})).status_code == 200
