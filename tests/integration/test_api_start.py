"""The whole start path on the real Redis, with a host that acknowledges on its stream as the daemon does."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import uvicorn

from contract.states import SessionState
from orchestrator.adapters.redis_client import connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.api.app import create_app
from orchestrator.bootstrap import Container
from orchestrator.domain.errors import StoreUnavailableError
from tests.support.api import (
    ADMIN,
    LIVEKIT_KEY,
    LIVEKIT_SECRET,
    ApiUnderTest,
    FakeQueue,
    FakeRooms,
    acknowledging_host,
    api_under_test,
    heartbeat,
    ready_agent,
    settings,
)
from tests.support.servers import RedisServer, free_port, wait_until


@pytest.fixture
async def api(redis_server: RedisServer) -> AsyncIterator[ApiUnderTest]:
    client = connect(redis_server.url)
    await client.flushall()
    async with api_under_test(client=client, hosts=RedisHosts) as api:
        yield api


async def test_an_agent_is_handed_out_once_it_acknowledged(api: ApiUnderTest) -> None:
    waiting = await api.warm(3)
    async with acknowledging_host(api.container.hosts):
        answer = await api.start({"userId": "u", "userName": "U"})
    assert answer.status_code == 200
    assert answer.json()["sessionId"] in waiting
    assert (await api.container.store.counts(3)).pool_ready == 2


async def test_many_at_once_get_one_each(api: ApiUnderTest) -> None:
    await api.warm(8)
    async with acknowledging_host(api.container.hosts):
        answers = await asyncio.gather(*(api.start({"userId": f"u{i}"}) for i in range(8)))
    assert [answer.status_code for answer in answers] == [200] * 8
    assert len({answer.json()["sessionId"] for answer in answers}) == 8


async def test_a_silent_agent_is_evicted_in_the_same_request(api: ApiUnderTest) -> None:
    waiting = await api.warm(2)
    silent: set[str] = set(waiting[:1])
    async with acknowledging_host(api.container.hosts, silent=silent):
        answers = [await api.start({"userId": "a"})]
    assert answers[0].json()["sessionId"] == waiting[1]
    # Which of the two was tried first is the pool's choice; a second caller meets the silent one for certain.
    async with acknowledging_host(api.container.hosts, silent=silent):
        assert (await api.start({"userId": "b"})).status_code == 202
    session = (await api.client.get(f"/api/session/{waiting[0]}")).json()
    assert session["status"] == "failed"
    assert session["error"].startswith("agent_unresponsive: ")


@pytest.mark.alone
async def test_a_host_that_froze_a_moment_ago_costs_no_answer(api: ApiUnderTest) -> None:
    """Its heartbeats came until just now, so it is waited for, and no longer than the API waits for the store."""
    waiting = await api.warm(3)
    answer = await api.start({"userId": "a"})
    assert answer.status_code == 202
    states = [(await api.client.get(f"/api/session/{session_id}")).json()["status"] for session_id in waiting]
    assert "failed" in states
    assert "assigned" not in states, "each that was claimed was given up"


async def test_duplicates_at_once_get_one_agent(api: ApiUnderTest) -> None:
    await api.warm(4)
    headers = {"Idempotency-Key": "one"}
    async with acknowledging_host(api.container.hosts):
        answers = await asyncio.gather(
            *(api.start({"userId": "u", "userName": "U"}, headers=headers) for _ in range(6))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert (await api.container.store.counts(3)).pool_ready == 3


async def test_an_answer_that_was_lost_is_given_again(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first try ends after the claim, before its answer was kept: the second gets the same agent."""
    waiting = await api.warm(3)
    body, headers = {"userId": "u", "userName": "U"}, {"Idempotency-Key": "lost"}

    async def cut_off(*_: object) -> None:
        raise StoreUnavailableError

    async with acknowledging_host(api.container.hosts):
        with monkeypatch.context() as patch:
            patch.setattr(api.container.store, "keep_answer", cut_off)
            assert (await api.start(body, headers=headers)).status_code == 503
        [claimed] = [i for i in waiting if (await api.container.store.get(i)).state is SessionState.ASSIGNED]  # type: ignore[union-attr]
        answers = [await api.start(body, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].content == answers[1].content
    assert answers[0].json()["sessionId"] == claimed
    assert (await api.container.store.counts(3)).pool_ready == 2


async def test_the_logs_of_an_agent(api: ApiUnderTest) -> None:
    [session_id] = await api.warm()
    async with acknowledging_host(api.container.hosts):
        answer = await api.client.get(f"/api/session/{session_id}/logs", headers=ADMIN)
    assert answer.json()["lines"] == [{"text": "hello"}]


async def test_the_logs_of_an_agent_whose_host_is_away(api: ApiUnderTest) -> None:
    [session_id] = await api.warm()
    answer = await api.client.get(f"/api/session/{session_id}/logs", headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (503, "host_unavailable")


# --- Redis is away -------------------------------------------------------------------------------------

STORE_CALLS = [
    ("POST", "/api/session/start", {"userId": "u"}),
    ("GET", "/api/session/prewarm_00000000", None),
    ("DELETE", "/api/session/prewarm_00000000", None),
    ("POST", "/api/token", {"sessionId": "prewarm_00000000", "userName": "U"}),
    ("GET", "/api/pool", None),
    ("POST", "/api/pool/resize", {"size": 1}),
    ("GET", "/api/hosts", None),
    ("GET", "/api/sessions", None),
]
AWAY_S = 2.5
"""What the README promises; the client's own time-out is the check."""


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer.create(tmp_path / "redis")
    server.start()
    yield server
    server.stop()


async def _all_say_it_is_away(api: ApiUnderTest) -> None:
    async with asyncio.timeout(AWAY_S):
        answers = await asyncio.gather(
            *(api.client.request(method, path, json=body, headers=ADMIN) for method, path, body in STORE_CALLS)
        )
        health, ready = await asyncio.gather(api.client.get("/api/health"), api.client.get("/health/ready"))
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")
        assert answer.headers["retry-after"]
    assert (health.status_code, health.json()["status"]) == (503, "unhealthy")
    assert ready.status_code == 503


@pytest.mark.alone
async def test_redis_is_stopped(own_redis: RedisServer) -> None:
    async with api_under_test(client=connect(own_redis.url), hosts=RedisHosts) as api:
        assert (await api.start()).status_code == 202
        own_redis.stop()
        await _all_say_it_is_away(api)
        own_redis.start()
        assert (await api.start()).status_code == 202


@pytest.mark.alone
@pytest.mark.parametrize("connections", [2, 64])
async def test_redis_is_frozen(own_redis: RedisServer, connections: int) -> None:
    client = connect(own_redis.url, max_connections=connections)
    async with api_under_test(client=client, hosts=RedisHosts) as api:
        assert (await api.start()).status_code == 202
        own_redis.send(signal.SIGSTOP)
        try:
            await asyncio.gather(_calls_say_it_is_away(api), _metrics_say_it_is_away(api))
        finally:
            own_redis.send(signal.SIGCONT)
        assert (await api.start()).status_code == 202


async def _calls_say_it_is_away(api: ApiUnderTest) -> None:
    async with asyncio.timeout(AWAY_S):
        answers = await asyncio.gather(
            *(api.client.request(method, path, json=body, headers=ADMIN) for method, path, body in STORE_CALLS)
        )
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")


async def _metrics_say_it_is_away(api: ApiUnderTest) -> None:
    answer = await api.client.get("/metrics")
    assert answer.status_code == 200
    assert "greenroom_store_up 0.0" in answer.text


# --- the program ---------------------------------------------------------------------------------------


async def test_over_a_real_server(redis_server: RedisServer) -> None:
    """uvicorn with its own loop in a thread, as deployed but for the process."""
    client = connect(redis_server.url)
    await client.flushall()
    outside = Container(settings(), client, FakeQueue())
    await heartbeat(outside.hosts, "h1")
    await ready_agent(outside)
    inside = Container(settings(), connect(redis_server.url), FakeQueue())
    inside.__dict__["rooms"] = FakeRooms()
    port = free_port()
    config = uvicorn.Config(create_app(inside), port=port, loop="uvloop", http="httptools", log_config=None)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        await asyncio.to_thread(wait_until, lambda: server.started, what="uvicorn listens")
        async with acknowledging_host(outside.hosts), httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            answer = await http.post("/api/session/start", json={"userId": "u", "userName": "U"})
            assert (answer.status_code, answer.json()["status"]) == (200, "ready")
            too_large = await http.post("/api/session/start", content=b"x" * 40_000)
            assert too_large.status_code == 413
    finally:
        server.should_exit = True
        await asyncio.to_thread(thread.join, 10)
        await client.aclose()


COMMAND = [sys.executable, "-m", "uvicorn", "--factory", "orchestrator.api.app:create_app", "--no-access-log"]


def _environment(**variables: str) -> dict[str, str]:
    keys = {"LIVEKIT_API_KEY": LIVEKIT_KEY, "LIVEKIT_API_SECRET": LIVEKIT_SECRET}
    return {"PATH": os.environ["PATH"], **keys, **variables}


def test_the_program_from_its_environment(redis_server: RedisServer, tmp_path: Path) -> None:
    port = free_port()
    out = tmp_path / "out"
    with out.open("wb") as log:
        process = subprocess.Popen(
            [*COMMAND, "--port", str(port)],
            env=_environment(REDIS_URL=redis_server.url), stdout=log, stderr=log,
        )  # fmt: skip
    url = f"http://127.0.0.1:{port}"

    def alive() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/health/live").status_code == 200
        return False

    try:
        wait_until(alive, what="the API answers")
        answer = httpx.get(f"{url}/nope", headers={"X-Request-Id": "mine"})
        assert answer.status_code == 404
    finally:
        process.terminate()
        assert process.wait(15) in {0, -signal.SIGTERM}
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    [access] = [line for line in lines if line["event"] == "request"]
    assert (access["program"], access["request_id"], access["status"]) == ("api", "mine", 404)


@pytest.mark.parametrize(
    ("name", "value"),
    [("REDIS_URL", "localhost"), ("LIVEKIT_API_SECRET", "short"), ("MAX_BOTS", "many"), ("LIVEKIT_API_KEY", "")],
)
def test_a_wrong_setting_is_named_in_one_line(name: str, value: str) -> None:
    done = subprocess.run(
        COMMAND, check=False, env=_environment(**{name: value}), capture_output=True, text=True, timeout=60
    )
    assert done.returncode != 0
    [line] = done.stderr.splitlines()
    assert line.startswith(f"greenroom: {name}: ")
