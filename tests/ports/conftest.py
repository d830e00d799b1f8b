"""The store and the hosts over each Redis that the same tests run on: one in this process, and the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from orchestrator.adapters.redis_client import Client, connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from tests.support.fakes import fake_client
from tests.support.invariants import check_everything


@pytest.fixture(params=["fakeredis", "redis"])
def redis_url(request: pytest.FixtureRequest) -> str | None:
    """None for the Redis in this process."""
    return None if request.param == "fakeredis" else request.getfixturevalue("redis_server").url


@pytest.fixture
async def client(redis_url: str | None) -> AsyncIterator[Client]:
    """An empty Redis. After the test, all that is in it must agree and be documented."""
    client = fake_client() if redis_url is None else connect(redis_url)
    await client.flushall()
    yield client
    await check_everything(client)
    await client.aclose()


@pytest.fixture
def store(client: Client) -> RedisStore:
    return RedisStore(client)


@pytest.fixture
def hosts(client: Client) -> RedisHosts:
    return RedisHosts(client)
