"""Who may, what every answer carries, and what the API says of itself."""

from __future__ import annotations

import base64
import hashlib
import re
import time
from collections.abc import AsyncIterator
from typing import Any

import jwt
import pytest

from orchestrator.api.security import Security
from tests.support.api import ADMIN, ApiUnderTest, api_under_test, settings

KEY_1, KEY_2 = "the-first-key-of-tests", "the-second-key-of-tests"
SECRET = "a-jwt-secret-for-tests-of-32-chars-or-more"

ADMIN_CALLS = [
    ("GET", "/api/pool", None),
    ("POST", "/api/pool/resize", {"size": 1}),
    ("GET", "/api/sessions", None),
    ("GET", "/api/hosts", None),
    ("POST", "/api/hosts/h1/drain", None),
    ("POST", "/api/hosts/h1/undrain", None),
    ("GET", "/api/events", None),
    ("GET", "/api/pool/history", None),
    ("GET", "/api/session/prewarm_00000000000000000000000000000000/life", None),
    ("GET", "/api/session/prewarm_00000000000000000000000000000000/logs", None),
]


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with api_under_test() as api:
        yield api


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _jwt(secret: str = SECRET, **claims: Any) -> str:
    return jwt.encode({"sub": "ada", "exp": time.time() + 60, **claims}, secret, algorithm="HS256")


# --- the admin -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "path", "body"), ADMIN_CALLS)
async def test_admin_calls_are_off_without_a_token(method: str, path: str, body: Any) -> None:
    async with api_under_test(admin_token=None) as api:
        answer = await api.client.request(method, path, json=body, headers=ADMIN)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


@pytest.mark.parametrize("headers", [{}, _bearer("wrong"), {"Authorization": "Basic eA=="}, {"X-API-Key": "wrong"}])
@pytest.mark.parametrize(("method", "path", "body"), ADMIN_CALLS)
async def test_admin_calls_need_the_token(
    api: ApiUnderTest, method: str, path: str, body: Any, headers: dict[str, str]
) -> None:
    answer = await api.client.request(method, path, json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
    assert answer.headers["www-authenticate"] == "Bearer"


async def test_an_api_key_is_no_admin_token() -> None:
    async with api_under_test(api_keys=(KEY_1,)) as api:
        assert (await api.client.get("/api/pool", headers=_bearer(KEY_1))).status_code == 401


# --- callers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{"X-API-Key": KEY_1}, _bearer(KEY_2), ADMIN])
async def test_a_caller_with_a_key(headers: dict[str, str]) -> None:
    async with api_under_test(api_keys=(KEY_1, KEY_2)) as api:
        assert (await api.start(headers=headers)).status_code == 202


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": KEY_1[:-1]}, _bearer("wrong")])
async def test_a_caller_without_one(headers: dict[str, str]) -> None:
    async with api_under_test(api_keys=(KEY_1, KEY_2)) as api:
        for answer in (
            await api.start(headers=headers),
            await api.client.get("/api/session/prewarm_00000000", headers=headers),
            await api.client.get("/api/session/prewarm_00000000/events", headers=headers),
            await api.client.get("/api/session/prewarm_00000000/turns", headers=headers),
            await api.client.post("/api/session/prewarm_00000000/timeline", json={}, headers=headers),
            await api.client.delete("/api/session/prewarm_00000000", headers=headers),
            await api.client.post("/api/token", json={}, headers=headers),
        ):
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_a_key_is_bound_to_its_caller() -> None:
    async with api_under_test(api_keys=(KEY_1, KEY_2)) as api:
        await api.warm(2)
        first = await api.start(headers={"X-API-Key": KEY_1, "Idempotency-Key": "same"})
        other = await api.start(headers={"X-API-Key": KEY_2, "Idempotency-Key": "same"})
        assert first.json()["sessionId"] != other.json()["sessionId"]


async def test_a_caller_with_a_jwt() -> None:
    async with api_under_test(jwt_secret=SECRET, jwt_audience="greenroom", jwt_issuer="us") as api:
        for good in (_jwt(aud="greenroom", iss="us"), _jwt(aud=["others", "greenroom"], iss="us")):
            assert (await api.start(headers=_bearer(good))).status_code == 202
        bad = [
            _jwt(aud="another", iss="us"),
            _jwt(aud="greenroom", iss="them"),
            _jwt(iss="us"),
            _jwt(aud="greenroom"),
            _jwt(aud=["others", "another"], iss="us"),
            _jwt(aud="greenroom", iss="us", exp=time.time() - 61),
            _jwt(aud="greenroom", iss="us", exp="soon"),
            _jwt(aud="greenroom", iss="us", nbf=time.time() + 120),
            _jwt(aud="greenroom", iss="us", sub=7),
            _jwt(secret="another-secret-for-tests-of-32-chars", aud="greenroom", iss="us"),
            jwt.encode({"sub": "ada", "aud": "greenroom", "iss": "us"}, SECRET, algorithm="HS256"),
            jwt.encode({"sub": "ada", "aud": "greenroom", "iss": "us"}, None, algorithm="none"),
            "nonsense",
            "a.b.c",
            "..",
            "e30.e30.e30",
        ]
        for token in bad:
            answer = await api.start(headers=_bearer(token))
            assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        answer = await api.start(headers={"Authorization": "Bearer ä.ö.ü".encode("latin-1")})  # type: ignore[dict-item]
        assert answer.status_code == 401


@pytest.mark.parametrize(
    ("claims", "words"),
    [
        ({"exp": None}, "should have the claim 'exp'"),
        ({"exp": 1}, "has expired"),
        ({"nbf": 8e9}, "not valid yet"),
        ({"iat": 8e9}, "not valid yet"),
        ({"aud": "x"}, "audience or issuer"),
    ],
)
async def test_what_is_wrong_with_a_token(claims: dict[str, Any], words: str) -> None:
    given = {name: value for name, value in {"exp": 9e9, "aud": "us", **claims}.items() if value is not None}
    async with api_under_test(jwt_secret=SECRET, jwt_audience="us") as api:
        answer = await api.start(headers=_bearer(jwt.encode(given, SECRET, algorithm="HS256")))
        assert answer.status_code == 401
        assert words in answer.json()["detail"]


@pytest.mark.parametrize("ahead_s", [-50, 2, 50])
async def test_an_issuers_clock_may_be_a_minute_from_ours(ahead_s: float) -> None:
    now = time.time() + ahead_s
    token = _jwt(iat=now, nbf=now, exp=now + 1)
    async with api_under_test(jwt_secret=SECRET) as api:
        assert (await api.start(headers=_bearer(token))).status_code == 202


async def test_a_key_that_is_none_hides_no_good_token() -> None:
    async with api_under_test(api_keys=(KEY_1,), jwt_secret=SECRET) as api:
        for good in (_bearer(_jwt()), _bearer(KEY_1), ADMIN):
            assert (await api.start(headers=good | {"X-API-Key": "junk"})).status_code == 202
        assert (await api.start(headers=_bearer("junk") | {"X-API-Key": KEY_1})).status_code == 202


async def test_an_audience_is_not_asked_for_where_none_is_set() -> None:
    async with api_under_test(jwt_secret=SECRET) as api:
        for token in (_jwt(), _jwt(aud="whoever", iss="anybody")):
            assert (await api.start(headers=_bearer(token))).status_code == 202


async def test_a_caller_has_no_secret_in_its_name() -> None:
    from starlette.datastructures import Headers

    caller = await Security(settings(api_keys=(KEY_1,))).caller(Headers({"x-api-key": KEY_1}))
    assert caller.trusted
    assert KEY_1 not in caller.name


# --- every answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/health/live", "/nope", "/api/pool", "/api/session/x"])
async def test_headers_on_every_answer(api: ApiUnderTest, path: str) -> None:
    headers = (await api.client.get(path)).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == "default-src 'none'; frame-ancestors 'none'"
    assert headers["x-request-id"]


async def test_a_request_id_of_the_callers_own(api: ApiUnderTest) -> None:
    answer = await api.client.get("/health/live", headers={"X-Request-Id": "abc-123"})
    assert answer.headers["x-request-id"] == "abc-123"


@pytest.mark.parametrize("bad", ["a b", "x" * 129, "<b>", "a\tb"])
async def test_a_request_id_that_may_not_stand_in_a_log(api: ApiUnderTest, bad: str) -> None:
    answer = await api.client.get("/health/live", headers={"X-Request-Id": bad})
    assert answer.headers["x-request-id"] != bad


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/assets/nope.js", 404, "not_found"),
        ("GET", "/api/pool/", 404, "not_found"),
        ("PUT", "/api/pool", 405, "method_not_allowed"),
        ("GET", "/api/token", 405, "method_not_allowed"),
    ],
)
async def test_unknown_addresses(api: ApiUnderTest, method: str, path: str, status: int, code: str) -> None:
    answer = await api.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["success"] is False
    assert answer.headers["content-type"] == "application/problem+json"


async def test_other_sites_may_not(api: ApiUnderTest) -> None:
    answer = await api.client.get("/health/live", headers={"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in answer.headers


async def test_only_allowed_sites_may() -> None:
    async with api_under_test(allowed_origins=("https://app.example",)) as api:
        preflight = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "Idempotency-Key"}
        path = "/api/session/start"
        answer = await api.client.options(path, headers={"Origin": "https://app.example", **preflight})
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "https://app.example"
        answer = await api.client.options(path, headers={"Origin": "https://evil.example", **preflight})
        assert "access-control-allow-origin" not in answer.headers
        answer = await api.client.post(path, content=b"x" * 20_000, headers={"Origin": "https://app.example"})
        assert answer.status_code == 413
        assert answer.headers["access-control-allow-origin"] == "https://app.example"  # errors can be read, too


# --- the OpenAPI document ------------------------------------------------------------------------------


async def test_the_document_is_complete(api: ApiUnderTest) -> None:
    document = (await api.client.get("/openapi.json")).json()
    operations = {
        (method, path): operation for path, item in document["paths"].items() for method, operation in item.items()
    }
    assert len(operations) == 24
    for (_, path), operation in operations.items():
        if not path.startswith("/api/") or path == "/api/health":
            continue
        assert {"408", "422", "500", "503"} <= set(operation["responses"]), path
        for status, answer in operation["responses"].items():
            if int(status) >= 400:
                content = answer["content"]["application/problem+json"]
                assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
                assert content["examples"]
    start = operations["post", "/api/session/start"]
    assert {"200", "202", "401", "403", "409", "413", "422", "503"} <= set(start["responses"])
    assert set(start["responses"]["503"]["content"]["application/problem+json"]["examples"]) == {
        "agents_unavailable",
        "at_capacity",
        "store_unavailable",
    }
    assert start["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/StartBody"}
    schemas = document["components"]["schemas"]
    assert schemas["StartBody"]["examples"]
    assert schemas["StartBody"]["required"] == ["userId"]
    assert schemas["Problem"]["properties"]["code"]


def _references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(_references(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(_references(item) for item in value))
    return set()


async def test_every_reference_leads_somewhere(api: ApiUnderTest) -> None:
    document = (await api.client.get("/openapi.json")).json()
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert _references(document) <= known


async def test_the_document_as_a_page_that_loads_nothing(api: ApiUnderTest) -> None:
    answer = await api.client.get("/docs")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "POST /api/session/start" in answer.text
    assert "Admin only." in answer.text
    assert not re.search(r"<(script|link|img|iframe)", answer.text)
    [style] = re.findall(r"<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
