"""Starts that are too many: whose they are, what is told, and what does not count."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from orchestrator.domain.limits import Rate
from tests.support.api import ADMIN, ApiUnderTest, api_under_test

KEY_1, KEY_2 = "the-first-key-of-tests", "the-second-key-of-tests"
SECRET = "a-jwt-secret-for-tests-of-32-chars-or-more"
TWO, THREE = Rate(2, 60), Rate(3, 60)


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with api_under_test(start_limit_user=TWO, start_limit_ip=THREE, start_limit_tenant=THREE) as api:
        yield api


async def _statuses(api: ApiUnderTest, *users: str, **options: Any) -> list[int]:
    return [(await api.start({"userId": user}, **options)).status_code for user in users]


async def test_answers_say_what_is_left(api: ApiUnderTest) -> None:
    await api.warm()
    warm, cold = await api.start(), await api.start()
    assert (warm.status_code, cold.status_code) == (200, 202)
    for answer in (warm, cold):
        assert answer.headers["ratelimit-policy"] == '"user";q=2;w=60, "ip";q=3;w=60'
    assert warm.headers["ratelimit"] == '"user";r=1;t=60, "ip";r=2;t=60'
    assert cold.headers["ratelimit"].startswith('"user";r=0;t=')


async def test_one_too_many_is_refused_and_told_when_to_come_back(api: ApiUnderTest) -> None:
    assert await _statuses(api, "ada", "ada") == [202, 202]
    answer = await api.start({"userId": "ada"})
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem["success"]) == (429, "rate_limited", False)
    assert answer.headers["content-type"] == "application/problem+json"
    assert problem["detail"].startswith("2 starts in 60 s are the most for one user.")
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["ratelimit-policy"] == '"user";q=2;w=60, "ip";q=3;w=60'
    assert answer.headers["ratelimit"].startswith('"user";r=0;t=')
    metrics = (await api.client.get("/metrics")).text
    assert 'greenroom_start_requests_total{outcome="limited"} 1.0' in metrics


async def test_who_presents_nothing_is_counted_by_address(api: ApiUnderTest) -> None:
    assert await _statuses(api, "a", "b", "c", "d") == [202, 202, 202, 429]
    problem = (await api.start({"userId": "e"})).json()
    assert problem["detail"].startswith("3 starts in 60 s are the most for one address.")


async def test_what_a_caller_says_of_its_address_is_not_believed(api: ApiUnderTest) -> None:
    headers = [{"X-Forwarded-For": f"203.0.113.{i}"} for i in range(4)]
    assert [(await _statuses(api, f"u{i}", headers=headers[i]))[0] for i in range(4)] == [202, 202, 202, 429]


@pytest.mark.parametrize(
    ("forwarded", "counts_as"),
    [
        (["203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1, 203.0.113.7"], "203.0.113.7"),
        (["198.51.100.1", "203.0.113.7, 10.1.2.3"], "203.0.113.7"),
        (["203.0.113.7:4711"], "203.0.113.7"),
        (["10.1.2.3"], "10.1.2.3"),
        (["203.0.113.7, nonsense"], "127.0.0.1"),
        ([""], "127.0.0.1"),
        ([], "127.0.0.1"),
        (["2001:db8:1:2::7"], "2001:db8:1:2::/64"),
        (["[2001:db8:1:2:3::9]:443"], "2001:db8:1:2::/64"),
        (["::ffff:203.0.113.7"], "203.0.113.7"),
    ],
)
async def test_behind_a_proxy_that_is_trusted(forwarded: list[str], counts_as: str) -> None:
    from starlette.requests import Request

    from orchestrator.api.limits import StartLimits
    from tests.support.api import settings

    limits = StartLimits(settings(trusted_proxies=("127.0.0.0/8", "10.0.0.0/8")))
    headers = [(b"x-forwarded-for", value.encode()) for value in forwarded]
    request = Request({"type": "http", "client": ("127.0.0.1", 1), "headers": headers})
    assert limits._network(request) == counts_as


@pytest.mark.parametrize("client", [None, ("", 0), ("testclient", 1)])
async def test_a_peer_without_an_address_is_counted_too(client: tuple[str, int] | None) -> None:
    from starlette.requests import Request

    from orchestrator.api.limits import StartLimits
    from tests.support.api import settings

    limits = StartLimits(settings(trusted_proxies=("127.0.0.0/8",)))
    assert limits._network(Request({"type": "http", "client": client, "headers": []})) == "None"


async def test_each_caller_has_a_rate_of_its_own_and_so_has_each_of_its_users() -> None:
    async with api_under_test(
        api_keys=(KEY_1, KEY_2), jwt_secret=SECRET, start_limit_user=TWO, start_limit_tenant=THREE, start_limit_ip=TWO
    ) as api:
        first, second = {"X-API-Key": KEY_1}, {"X-API-Key": KEY_2}
        assert await _statuses(api, "a", "a", "a", "b", "c", headers=first) == [202, 202, 429, 202, 429]
        assert await _statuses(api, "a", "a", "a", headers=second) == [202, 202, 429]
        token = jwt.encode({"sub": "ada", "exp": 9e9}, SECRET, algorithm="HS256")
        assert await _statuses(api, "a", "b", "c", "d", headers={"Authorization": f"Bearer {token}"}) == [202] * 3 + [
            429
        ]
        assert await _statuses(api, "a", "b", "c", "d", headers=ADMIN) == [202] * 3 + [429]


async def test_tokens_of_one_tenant_count_together() -> None:
    def bearer(**claims: object) -> dict[str, str]:
        return {"Authorization": f"Bearer {jwt.encode({'exp': 9e9, **claims}, SECRET, algorithm='HS256')}"}

    async with api_under_test(jwt_secret=SECRET, jwt_tenant_claim="org", start_limit_tenant=THREE) as api:
        assert await _statuses(api, "a", "b", headers=bearer(sub="ada", org="zoo")) == [202, 202]
        assert await _statuses(api, "a", "b", headers=bearer(sub="ben", org="zoo")) == [202, 429]
        assert await _statuses(api, "a", headers=bearer(sub="ada", org="farm")) == [202]
        assert await _statuses(api, "a", headers=bearer(sub="ada", org="zoo", iss="another")) == [202]
        again = {"Idempotency-Key": "k"}
        keyed = [await api.start(headers=bearer(sub="eve", org=org) | again) for org in ("mine", "pit", "pit")]
        assert keyed[1].json()["sessionId"] == keyed[2].json()["sessionId"] != keyed[0].json()["sessionId"]
        for without in ({}, {"org": ""}, {"org": ["zoo"]}, {"org": True}, {"org": 7}):
            answer = await api.start(headers=bearer(sub="ada", **without))
            assert answer.status_code == 401
            assert "'org'" in answer.json()["detail"]


async def test_a_tenants_user_is_who_the_token_names_and_no_other_by_another_user_id() -> None:
    def bearer(**claims: object) -> dict[str, str]:
        token = jwt.encode({"exp": 9e9, "org": "zoo", **claims}, SECRET, algorithm="HS256")
        return {"Authorization": f"Bearer {token}"}

    async with api_under_test(jwt_secret=SECRET, jwt_tenant_claim="org", start_limit_user=TWO) as api:
        assert await _statuses(api, "a", "b", "c", headers=bearer(sub="ada")) == [202, 202, 429]
        assert await _statuses(api, "a", headers=bearer(sub="ben")) == [202]
        for without in ({}, {"sub": ""}):
            answer = await api.start(headers=bearer(**without))
            assert answer.status_code == 401
            assert "'sub'" in answer.json()["detail"]
    async with api_under_test(jwt_secret=SECRET, jwt_tenant_claim="org", max_sessions_per_user=1) as api:
        assert await _statuses(api, "a", "b", headers=bearer(sub="ada")) == [202, 429]


async def test_the_same_request_again_does_not_count(api: ApiUnderTest) -> None:
    await api.warm()
    for key in ("warm", "cold"):
        answers = [await api.start(headers={"Idempotency-Key": key}) for _ in range(5)]
        assert len({answer.content for answer in answers}) == 1
        assert "ratelimit" in answers[0].headers
        assert "ratelimit" not in answers[1].headers
    assert await _statuses(api, "user_123") == [429]


async def test_what_is_not_valid_does_not_count(api: ApiUnderTest) -> None:
    for _ in range(5):
        assert (await api.start({"userId": ""})).status_code == 422
    assert await _statuses(api, "ada", "ada") == [202, 202]


async def test_so_many_sessions_at_once() -> None:
    async with api_under_test(max_sessions_per_user=1) as api:
        first = (await api.start()).json()
        answer = await api.start()
        assert (answer.status_code, answer.json()["code"]) == (429, "rate_limited")
        assert answer.json()["detail"].startswith("One user may have 1 session")
        assert int(answer.headers["retry-after"]) > 0
        assert "ratelimit" not in answer.headers
        assert await _statuses(api, "another") == [202]
        await api.client.delete(f"/api/session/{first['sessionId']}")
        assert (await api.start()).status_code == 202


async def test_no_key_tells_who_it_is(api: ApiUnderTest) -> None:
    await api.start({"userId": "a-private-name"})
    limits = [key async for key in api.container.client.scan_iter("limit:*")]
    assert len(limits) == 2
    assert "a-private-name" not in json.dumps(limits)


async def test_browsers_may_read_what_is_left() -> None:
    async with api_under_test(allowed_origins=("https://app.example",), start_limit_user=TWO) as api:
        answer = await api.start(headers={"Origin": "https://app.example"})
        exposed = {name.strip().lower() for name in answer.headers["access-control-expose-headers"].split(",")}
        assert {"ratelimit", "ratelimit-policy", "retry-after"} <= exposed


async def test_the_document_says_so(api: ApiUnderTest) -> None:
    start = (await api.client.get("/openapi.json")).json()["paths"]["/api/session/start"]["post"]
    for status in ("200", "202", "429"):
        assert {"RateLimit", "RateLimit-Policy"} <= set(start["responses"][status]["headers"])
    assert "Retry-After" in start["responses"]["429"]["headers"]
