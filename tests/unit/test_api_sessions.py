from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator

import jwt
import pytest

from contract.states import SessionState
from tests.support.api import ADMIN, LIVEKIT_SECRET, ApiUnderTest, api_under_test

UNKNOWN = "prewarm_00000000000000000000000000000000"


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with api_under_test() as api:
        yield api


async def _started(api: ApiUnderTest) -> str:
    await api.warm()
    return str((await api.start({"userId": "ada", "userName": "Ada"})).json()["sessionId"])


async def test_an_assigned_session_shows_as_ready(api: ApiUnderTest) -> None:
    session_id = await _started(api)
    content = (await api.client.get(f"/api/session/{session_id}")).json()
    assert content["success"] is True
    assert content["status"] == "ready"
    assert (content["userId"], content["prewarmed"], content["startupTime"]) == ("ada", True, 0.12)
    assert content["assignedAt"] >= content["createdAt"]
    assert (content["queuePosition"], content["error"]) == (None, None)


async def test_only_the_admin_sees_where_the_agent_is(api: ApiUnderTest) -> None:
    session_id = await _started(api)
    content = (await api.client.get(f"/api/session/{session_id}")).json()
    assert (content["host"], content["agentPid"]) == (None, None)
    content = (await api.client.get(f"/api/session/{session_id}", headers=ADMIN)).json()
    assert (content["host"], content["agentPid"]) == ("h1", 4000)


async def test_a_starting_session_has_its_place(api: ApiUnderTest) -> None:
    session_id = (await api.start()).json()["sessionId"]
    content = (await api.client.get(f"/api/session/{session_id}")).json()
    assert (content["status"], content["queuePosition"]) == ("starting", 1)


async def test_a_failed_session_says_why(api: ApiUnderTest) -> None:
    session_id = (await api.start()).json()["sessionId"]
    await api.container.store.finish(session_id, SessionState.FAILED, "no agent came in 3 tries", code="spawn_failed")
    content = (await api.client.get(f"/api/session/{session_id}")).json()
    assert content["status"] == "failed"
    assert content["error"] == "spawn_failed: no agent could be started"
    assert "3 tries" not in json.dumps(content)  # what an agent's code said may name files or keys
    content = (await api.client.get(f"/api/session/{session_id}", headers=ADMIN)).json()
    assert content["error"] == "spawn_failed: no agent came in 3 tries"


@pytest.mark.parametrize("code", ["agent_died", "agent_unresponsive", "host_lost", "spawn_failed", "internal_error"])
async def test_whatever_broke_callers_hear_fixed_words(api: ApiUnderTest, code: str) -> None:
    session_id = (await api.start()).json()["sessionId"]
    reason = "its host box-7 is lost: RuntimeError: see /srv/shop/config.yml"
    await api.container.store.finish(session_id, SessionState.FAILED, reason, code=code)
    answer = await api.client.get(f"/api/session/{session_id}")
    assert re.fullmatch(rf"{code}: [a-z' ]+", answer.json()["error"])
    assert not re.search("box-7|RuntimeError|/srv", answer.text)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_unknown_session(api: ApiUnderTest, method: str) -> None:
    answer = await api.client.request(method, f"/api/session/{UNKNOWN}")
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


@pytest.mark.parametrize("bad", ["1", "session_", "session_XYZ12345", "prewarm_12345678%0A", "..%2Fx", "x" * 300])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_an_id_that_is_none(api: ApiUnderTest, method: str, bad: str) -> None:
    answer = await api.client.request(method, f"/api/session/{bad}")
    assert answer.status_code in {404, 422}
    if answer.status_code == 422:
        assert answer.json()["errors"][0]["field"] == "sessionId"


async def test_ending_it_twice(api: ApiUnderTest) -> None:
    session_id = await _started(api)
    answers = [await api.client.delete(f"/api/session/{session_id}") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert [answer.json()["status"] for answer in answers] == ["ended", "ended"]
    assert [answer.json()["changed"] for answer in answers] == [True, False]
    assert (await api.client.get(f"/api/session/{session_id}")).json()["status"] == "ended"


# --- tokens --------------------------------------------------------------------------------------------


async def test_a_token_is_the_session_users(api: ApiUnderTest) -> None:
    session_id = await _started(api)
    answer = await api.client.post("/api/token", json={"sessionId": session_id, "userName": "Another name"})
    content = answer.json()
    claims = jwt.decode(content["token"], LIVEKIT_SECRET, algorithms=["HS256"])
    assert answer.status_code == 200
    assert (content["room"], content["identity"]) == (session_id, "user-ada")
    assert (claims["sub"], claims["name"], claims["exp"]) == ("user-ada", "Another name", content["expiresAt"])
    assert content["url"] == api.container.settings.public_livekit_url


async def test_a_token_of_an_unknown_session(api: ApiUnderTest) -> None:
    answer = await api.client.post("/api/token", json={"sessionId": UNKNOWN, "userName": "U"})
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


async def test_a_token_does_not_take_an_agent_out_of_the_pool(api: ApiUnderTest) -> None:
    [waiting] = await api.warm()
    answer = await api.client.post("/api/token", json={"sessionId": waiting, "userName": "U"})
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")


async def test_a_token_of_an_ended_session(api: ApiUnderTest) -> None:
    session_id = await _started(api)
    await api.client.delete(f"/api/session/{session_id}")
    answer = await api.client.post("/api/token", json={"sessionId": session_id, "userName": "U"})
    assert (answer.status_code, answer.json()["code"]) == (410, "session_ended")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"userName": "U"}, "sessionId"),
        ({"sessionId": "nonsense", "userName": "U"}, "sessionId"),
        ({"sessionId": UNKNOWN}, "userName"),
        ({"sessionId": UNKNOWN, "userName": "U", "admin": True}, "admin"),
    ],
)
async def test_a_bad_token_request(api: ApiUnderTest, body: dict[str, object], field: str) -> None:
    answer = await api.client.post("/api/token", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


# --- the admin's list and logs -------------------------------------------------------------------------


async def test_the_list_by_status(api: ApiUnderTest) -> None:
    claimed = await _started(api)
    [waiting] = await api.warm()
    starting = (await api.start({"userId": "b"})).json()["sessionId"]  # takes the waiting one
    assert starting == waiting
    content = (await api.client.get("/api/sessions", params={"status": "ready"}, headers=ADMIN)).json()
    assert {session["sessionId"] for session in content["sessions"]} == {claimed, waiting}
    content = (await api.client.get("/api/sessions", params={"status": "failed"}, headers=ADMIN)).json()
    assert content["sessions"] == []


async def test_the_list_in_pages(api: ApiUnderTest) -> None:
    ids = set(await api.warm(5))
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        params = {"limit": "2", **({"cursor": cursor} if cursor else {})}
        content = (await api.client.get("/api/sessions", params=params, headers=ADMIN)).json()
        seen += [session["sessionId"] for session in content["sessions"]]
        cursor = content["cursor"]
    assert cursor is None
    assert len(seen) == 5
    assert set(seen) == ids


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"status": "assigned"}, "status"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"cursor": "!"}, "cursor"),
        ({"cursor": "c3RhcnRpbmd8bmFufGE"}, "cursor"),
        ({"cursor": "/w"}, "cursor"),
    ],
)
async def test_a_bad_list_request(api: ApiUnderTest, params: dict[str, str], field: str) -> None:
    answer = await api.client.get("/api/sessions", params=params, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["detail"].startswith(f"{field}: ")


async def test_the_logs_of_an_agent(api: ApiUnderTest) -> None:
    session_id = await _started(api)
    answer = await api.client.get(f"/api/session/{session_id}/logs", headers=ADMIN)
    assert answer.json()["lines"] == [{"at": 1.0, "text": f"{session_id} on h1"}]
    answer = await api.client.get(f"/api/session/{UNKNOWN}/logs", headers=ADMIN)
    assert answer.status_code == 404
    answer = await api.client.get(f"/api/session/{session_id}/logs?limit=0", headers=ADMIN)
    assert answer.status_code == 422


@pytest.mark.parametrize(("headers", "reason"), [({}, "ended by its caller"), (ADMIN, "ended by the operator")])
async def test_who_ended_it(api: ApiUnderTest, headers: dict[str, str], reason: str) -> None:
    session_id = (await api.start()).json()["sessionId"]
    await api.client.delete(f"/api/session/{session_id}", headers=headers)
    assert (await api.client.get(f"/api/session/{session_id}")).json()["endReason"] == reason
