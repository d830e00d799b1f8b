"""Callers whose tokens are signed by published keys (``JWT_JWKS_URL``), with a server that publishes them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.support.api import ApiUnderTest, api_under_test
from tests.support.key_server import Key, KeyServer

KEY, OTHER = Key("first"), Key("second")


@pytest.fixture
async def server() -> AsyncIterator[KeyServer]:
    async with KeyServer(KEY).running() as running:
        yield running


@pytest.fixture
async def api(server: KeyServer) -> AsyncIterator[ApiUnderTest]:
    async with api_under_test(jwt_jwks_url=server.url) as api:
        yield api


async def start(api: ApiUnderTest, token: str) -> tuple[int, str]:
    """The status, and the code where it is an error's."""
    answer = await api.start(headers={"Authorization": f"Bearer {token}"})
    return answer.status_code, answer.json().get("code", "")


async def test_a_token_of_a_published_key(api: ApiUnderTest) -> None:
    assert await start(api, KEY.token()) == (202, "")


async def test_tokens_that_are_not_by_a_published_key(api: ApiUnderTest) -> None:
    a_minute = {"sub": "ada", "exp": time.time() + 60}
    for token in (
        OTHER.token(),
        KEY.token(exp=time.time() - 61),
        jwt.encode(a_minute, OTHER.private, algorithm="ES256", headers={"kid": KEY.kid}),
        jwt.encode(a_minute, "a-secret-that-is-shared-with-nobody", algorithm="HS256", headers={"kid": KEY.kid}),
        jwt.encode(a_minute, rsa.generate_private_key(65537, 2048), algorithm="RS256", headers={"kid": KEY.kid}),
        jwt.encode(a_minute, KEY.private, algorithm="ES256"),
        "x",
    ):
        assert await start(api, token) == (401, "unauthorized"), token


async def test_audience_and_issuer(server: KeyServer) -> None:
    async with api_under_test(jwt_jwks_url=server.url, jwt_audience="greenroom", jwt_issuer="us") as api:
        assert await start(api, KEY.token(aud="greenroom", iss="us")) == (202, "")
        for claims in ({}, {"aud": "greenroom"}, {"aud": "greenroom", "iss": "them"}, {"aud": "else", "iss": "us"}):
            assert await start(api, KEY.token(**claims)) == (401, "unauthorized"), claims


async def test_the_keys_are_fetched_once(api: ApiUnderTest, server: KeyServer) -> None:
    answers = await asyncio.gather(*(start(api, KEY.token()) for _ in range(10)))
    assert set(answers) == {(202, "")}
    assert server.asked == 1


@pytest.mark.parametrize("answers", [b'{"keys": []}', b"[]", b"<html>"])
async def test_keys_that_cannot_be_read(api: ApiUnderTest, server: KeyServer, answers: bytes) -> None:
    server.answers = answers
    assert await start(api, KEY.token()) == (503, "identity_unavailable")


async def test_keys_that_cannot_be_reached() -> None:
    async with api_under_test(jwt_jwks_url=KeyServer().url) as api:
        assert await start(api, KEY.token()) == (503, "identity_unavailable")


async def test_a_good_token_does_not_wait_while_anothers_key_is_looked_for(
    api: ApiUnderTest, server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert await start(api, KEY.token()) == (202, "")
    monkeypatch.setattr(api.app.state.api.security._jwks, "cooldown_duration", 0)
    server.open.clear()
    strange = asyncio.create_task(start(api, OTHER.token()))
    while server.asked < 2:
        await asyncio.sleep(0.01)

    assert await start(api, KEY.token()) == (202, "")

    assert not strange.done()
    server.publish(KEY, OTHER)
    server.open.set()
    assert await strange == (202, "")
