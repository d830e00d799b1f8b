"""The pool, hosts, health, metrics and LiveKit's webhooks."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from livekit import api as livekit

from contract.states import SessionState
from orchestrator.domain.errors import AgentsUnavailableError, RoomsUnavailableError, StoreUnavailableError
from orchestrator.services.health import Health
from tests.support.api import ADMIN, LIVEKIT_KEY, LIVEKIT_SECRET, ApiUnderTest, FakeRooms, api_under_test


@pytest.fixture
async def api() -> AsyncIterator[ApiUnderTest]:
    async with api_under_test() as api:
        yield api


# --- the pool and the hosts ----------------------------------------------------------------------------


async def test_the_pool(api: ApiUnderTest) -> None:
    await api.warm(2)
    content = (await api.client.get("/api/pool", headers=ADMIN)).json()
    assert content == {
        "success": True, "target": 3, "floor": 3, "ready": 2, "starting": 0, "converged": False, "waiting": 0,
        "queued": 0, "max": 10, "demand": {"startsPerMinute": 0.0, "spawnP95S": None, "expected": 0.0},
        "reason": "floor 3; 0.0 starts a minute need no more",
        "agents": [{
            "agent": "default", "target": 3, "floor": 3, "ready": 2, "starting": 0, "max": 10, "converged": False,
            "reason": "floor 3; 0.0 starts a minute need no more",
        }],
    }  # fmt: skip


async def test_resizing(api: ApiUnderTest) -> None:
    await api.warm(2)
    answer = await api.client.post("/api/pool/resize", json={"size": 2}, headers=ADMIN)
    assert answer.json() == {
        "success": True, "size": 2, "previous": 3, "agent": "default", "converged": False, "statusUrl": "/api/pool",
    }  # fmt: skip
    assert api.queue.refills == 1
    assert (await api.client.get("/api/pool", headers=ADMIN)).json()["converged"] is True


@pytest.mark.parametrize(
    "body", [{"size": -1}, {"size": 11}, {"size": "3"}, {"size": 2.5}, {"size": True}, {}, {"n": 1}]
)
async def test_a_size_that_is_none(api: ApiUnderTest, body: dict[str, Any]) -> None:
    answer = await api.client.post("/api/pool/resize", json=body, headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert "size" in answer.json()["detail"]
    assert api.queue.refills == 0


async def test_the_hosts(api: ApiUnderTest) -> None:
    await api.heartbeat("h1", agents=2)
    await api.heartbeat("h2")
    await api.container.hosts.sign_off("h2")
    hosts = (await api.client.get("/api/hosts", headers=ADMIN)).json()["hosts"]
    assert [(host["host"], host["alive"], host["agents"]) for host in hosts] == [("h1", True, 2), ("h2", False, 1)]
    assert hosts[0]["heartbeatAgeS"] >= 0
    assert hosts[0]["agentPrivateBytes"] == 11_000_000
    assert (hosts[0]["load"], hosts[0]["cpus"]) == (0.5, 8)


async def test_a_host_that_does_not_tell_its_load(api: ApiUnderTest) -> None:
    await api.heartbeat("h1")
    await api.container.client.hdel("host:h1", "load1", "cpus", "capacity_limit", "capacity_reason")
    [host] = (await api.client.get("/api/hosts", headers=ADMIN)).json()["hosts"]
    assert (host["load"], host["cpus"], host["capacityLimit"], host["capacityReason"]) == (None, None, None, None)


async def test_how_many_agents_a_host_can_have_and_why(api: ApiUnderTest) -> None:
    await api.heartbeat("h1", capacity=4, capacity_limit="memory", capacity_reason="memory: 600 MiB available, …")
    [host] = (await api.client.get("/api/hosts", headers=ADMIN)).json()["hosts"]
    assert (host["capacity"], host["capacityLimit"]) == (4, "memory")
    assert host["capacityReason"] == "memory: 600 MiB available, …"
    assert 'greenroom_host_capacity{host="h1",limit="memory"} 4.0' in (await api.client.get("/metrics")).text
    assert (await api.client.get("/api/health")).json()["capacity"] == {"current": 0, "max": 4, "available": 4}


async def test_many_starts_raise_the_target_and_the_pool_says_why() -> None:
    async with api_under_test(max_bots=100, prewarm_pool_size=3) as api:
        await api.heartbeat("h1", capacity=100)
        await api.container.client.rpush("stats:spawnRecent", *[6.0] * 20)
        for _ in range(30):
            await api.start()
        pool = (await api.client.get("/api/pool", headers=ADMIN)).json()
        assert pool["floor"] == 3
        assert pool["target"] > 6, (
            "three or four are on their way, a wait of 1.5 s included: three ready beside them, with a margin"
        )
        assert pool["reason"].startswith(f"floor 3 + {pool['target'] - 3} for ")
        assert pool["demand"]["spawnP95S"] == 6.0
        assert 25 < pool["demand"]["startsPerMinute"] <= 30
        text = (await api.client.get("/metrics")).text
        assert f"greenroom_pool_target {float(pool['target'])}" in text
        assert "greenroom_pool_floor 3.0" in text
        assert 3.1 < _value(text, "greenroom_pool_demand") <= 3.75


async def test_a_host_is_drained_and_put_back(api: ApiUnderTest) -> None:
    await api.warm(2)
    call = (await api.start()).json()["sessionId"]
    await api.heartbeat("h2")
    for _ in range(2):  # twice is as once
        answer = await api.client.post("/api/hosts/h1/drain", headers=ADMIN)
        content = answer.json()
        assert answer.status_code == 200
        listed = (await api.client.get("/api/hosts", headers=ADMIN)).json()["hosts"][0]
        assert {**listed, "heartbeatAgeS": 0, "success": True} == {**content, "heartbeatAgeS": 0}
        assert (content["host"], content["draining"], content["drained"]) == ("h1", True, False)
        assert content["drainingSince"] > 0
    assert api.queue.refills >= 2
    assert (await api.client.get("/api/pool", headers=ADMIN)).json()["ready"] == 0
    assert (await api.client.get(f"/api/session/{call}")).json()["status"] == "ready"
    assert 'greenroom_host_draining{host="h1"} 1.0' in (await api.client.get("/metrics")).text

    content = (await api.client.post("/api/hosts/h1/undrain", headers=ADMIN)).json()
    assert (content["success"], content["draining"], content["drainingSince"]) == (True, False, None)


@pytest.mark.parametrize("how", ["drain", "undrain"])
async def test_a_host_that_nobody_knows(api: ApiUnderTest, how: str) -> None:
    answer = await api.client.post(f"/api/hosts/nobody/{how}", headers=ADMIN)
    assert (answer.status_code, answer.json()["code"]) == (404, "host_not_found")
    answer = await api.client.post(f"/api/hosts/no%20body/{how}", headers=ADMIN)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "hostId")


async def test_with_its_only_host_drained_starts_wait_and_then_are_refused() -> None:
    async with api_under_test(max_queue=1) as api:
        await api.warm()
        await api.container.store.refill_begun()
        await api.client.post("/api/hosts/h1/drain", headers=ADMIN)
        waits = await api.start()
        assert (waits.status_code, waits.json()["queuePosition"]) == (202, 1)
        assert api.queue.spawns == [], "there is nobody to start it"
        refused = await api.start()
        assert (refused.status_code, refused.json()["code"]) == (503, "at_capacity")
        ready = await api.client.get("/health/ready", headers=ADMIN)
        assert ready.status_code == 503
        assert ready.json()["reason"] == "hosts: every host that is alive drains (h1)"
        public = (await api.client.get("/health/ready")).json()["reason"]
        assert public == "hosts: every host that is alive drains"
        await api.heartbeat("h2")
        ready = (await api.client.get("/health/ready", headers=ADMIN)).json()
        assert ready["parts"]["hosts"] == {"ok": True, "detail": "1 alive, besides what drains (h1)"}
        assert (await api.client.get("/health/ready")).json()["parts"]["hosts"]["detail"] == "1 alive"


async def test_a_rollout_is_begun_once_and_seen(api: ApiUnderTest) -> None:
    assert (await api.client.get("/api/rollout", headers=ADMIN)).json()["rollout"] is None
    assert (await api.client.post("/api/rollout")).status_code == 401
    await api.heartbeat("h1", generation="1.0")
    began = await api.client.post("/api/rollout", headers=ADMIN)
    assert (began.status_code, began.json()["began"]) == (202, True)
    again = (await api.client.post("/api/rollout", headers=ADMIN)).json()
    assert (again["began"], again["rollout"]["id"]) == (False, began.json()["rollout"]["id"])
    view = (await api.client.get("/api/rollout", headers=ADMIN)).json()["rollout"]
    assert (view["state"], view["detail"], view["recycled"]) == ("running", "h1: loading", 0)
    await api.heartbeat("h1", generation="2.0", rollout=view["id"], rollout_error="No module named x")
    await api.container.rollout.advance()
    view = (await api.client.get("/api/rollout", headers=ADMIN)).json()["rollout"]
    assert (view["state"], view["detail"]) == ("failed", "h1: No module named x")


# --- health --------------------------------------------------------------------------------------------


async def _healthy(api: ApiUnderTest) -> None:
    await api.warm(2)
    await api.container.store.refill_begun()


async def test_healthy(api: ApiUnderTest) -> None:
    await _healthy(api)
    await api.start()
    answer = await api.client.get("/api/health")
    content = answer.json()
    assert answer.status_code == 200
    assert (content["success"], content["status"], content["reason"]) == (True, "healthy", None)
    assert content["sessions"] == {"ready": 2, "starting": 0, "active": 0, "pool": 1, "total": 2}
    assert content["stats"] == {"totalSpawned": 0, "totalAssigned": 1}
    assert content["capacity"] == {"current": 2, "max": 10, "available": 8}
    assert (await api.client.get("/health/ready")).json()["status"] == "ready"


async def _livekit_away(api: ApiUnderTest) -> None:
    api.rooms.away = True


async def _no_host(api: ApiUnderTest) -> None:
    await api.container.hosts.sign_off("h1")


async def _no_zygote(api: ApiUnderTest) -> None:
    await api.heartbeat("h1", zygote="failed: no module named x", warm=0)


async def _late_beat(api: ApiUnderTest) -> None:
    await api.container.client.set("stats:lastRefillAt", "1000.0")


async def _redis_away(api: ApiUnderTest) -> None:
    async def away(*_: object) -> None:
        raise StoreUnavailableError

    for part in (api.container.store, api.container.hosts):
        for name in ("counts", "hosts", "spawn_stats"):
            if hasattr(part, name):
                setattr(part, name, away)


@pytest.mark.parametrize(
    ("break_it", "part"),
    [
        (_livekit_away, "livekit"),
        (_no_host, "hosts"),
        (_no_zygote, "hosts"),
        (_late_beat, "beat"),
        (_redis_away, "redis"),
    ],
)
async def test_unhealthy(api: ApiUnderTest, break_it: Any, part: str) -> None:
    await _healthy(api)
    await break_it(api)
    for path, status in (("/api/health", "unhealthy"), ("/health/ready", "not ready")):
        answer = await api.client.get(path)
        content = answer.json()
        assert answer.status_code == 503
        assert (content["success"], content["status"]) == (False, status)
        assert f"{part}: " in content["reason"]
        assert content["parts"][part]["ok"] is False
    assert (await api.client.get("/health/live")).status_code == 200


async def _spawns_fail(api: ApiUnderTest) -> None:
    for _ in range(api.container.settings.spawn_breaker_failures):
        await api.container.breaker.failed("livekit_unavailable", "LiveKit is away")


async def test_while_spawns_keep_failing_it_is_degraded_and_ready(api: ApiUnderTest) -> None:
    await _healthy(api)
    await _spawns_fail(api)
    answer = await api.client.get("/api/health", headers=ADMIN)
    content = answer.json()
    assert (answer.status_code, content["success"], content["status"]) == (200, True, "degraded")
    words = r"spawns: they have failed for 0 s, and wait "
    words += r"\(the next one in [12] s\): LiveKit is away \(livekit_unavailable\)"
    assert re.fullmatch(words, content["reason"])
    ready = await api.client.get("/health/ready")
    assert (ready.status_code, ready.json()["reason"], "spawns" in ready.json()["parts"]) == (200, None, False)
    assert _value((await api.client.get("/metrics")).text, 'greenroom_spawn_breaker_state{kind="default"}') == 2
    await api.container.breaker.succeeded()
    assert (await api.client.get("/api/health")).json()["status"] == "healthy"
    assert _value((await api.client.get("/metrics")).text, 'greenroom_spawn_breaker_state{kind="default"}') == 0


async def test_while_spawns_keep_failing_who_waits_is_handed_out_and_the_rest_refused(api: ApiUnderTest) -> None:
    await api.warm(1)
    await _spawns_fail(api)
    assert (await api.start()).status_code == 200
    refused = await api.start()
    assert (refused.status_code, refused.json()["code"]) == (503, "agents_unavailable")
    assert refused.json()["detail"] == AgentsUnavailableError().detail, "why is for operators"
    assert refused.headers["Retry-After"] in {"1", "2"}
    assert api.queue.spawns == []


INTERNAL = "RuntimeError: cannot connect to postgres://db.internal/shop (see /srv/shop/config.yml)"
"""What an agent's own module said as it was imported."""


@pytest.mark.parametrize("zygote", [f"failed: {INTERNAL}", f"sales starting; default failed: {INTERNAL}"])
async def test_why_an_agents_module_cannot_be_loaded_is_told_to_the_admin_alone(api: ApiUnderTest, zygote: str) -> None:
    await api.container.store.refill_begun()
    await api.heartbeat("host-at-home", zygote=zygote, ready_kinds="", warm=0)
    for path in ("/api/health", "/health/ready"):
        public = await api.client.get(path)
        assert (public.status_code, public.json()["success"]) == (503, False)
        assert public.json()["reason"] == "hosts: no host can start agents yet (its zygote is failed)"
        for internal in (INTERNAL, "postgres", "/srv", "host-at-home"):
            assert internal not in public.text
        whole = (await api.client.get(path, headers=ADMIN)).json()
        assert whole["reason"] == f"hosts: no host can start agents yet (host-at-home: its zygote is {zygote})"


async def test_why_spawns_fail_is_told_to_the_admin_alone(api: ApiUnderTest) -> None:
    await _healthy(api)
    waits = (await api.start(), await api.start(), await api.start())[-1].json()["sessionId"]
    for _ in range(api.container.settings.spawn_breaker_failures):
        await api.container.breaker.failed("zygote_unavailable", f"the zygote is not ready (failed: {INTERNAL})")
    await api.container.store.finish(waits, SessionState.FAILED, INTERNAL, code="spawn_failed")
    refused = await api.start()
    assert (refused.status_code, refused.json()["code"]) == (503, "agents_unavailable")
    health = await api.client.get("/api/health")
    assert re.search(r"spawns: they have failed .*: zygote_unavailable$", health.json()["reason"])
    session = await api.client.get(f"/api/session/{waits}")
    assert session.json()["error"] == "spawn_failed: no agent could be started"
    for answer in (refused, health, session):
        assert not re.search(r"postgres|/srv|RuntimeError", answer.text)
    assert INTERNAL in (await api.client.get("/api/health", headers=ADMIN)).json()["reason"]
    assert INTERNAL in (await api.client.get(f"/api/session/{waits}", headers=ADMIN)).json()["error"]


async def test_what_livekit_answers_is_told_to_the_admin_alone(
    api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ping() -> None:
        raise RoomsUnavailableError("LiveKit refused: invalid API key: APIxyz")

    monkeypatch.setattr(api.rooms, "ping", ping)
    await _healthy(api)
    assert (await api.client.get("/api/health")).json()["reason"] == "livekit: does not answer, or refuses requests"
    assert "APIxyz" in (await api.client.get("/api/health", headers=ADMIN)).json()["reason"]


async def test_not_ready_before_the_first_refill(api: ApiUnderTest) -> None:
    await api.warm()
    answer = await api.client.get("/health/ready")
    assert answer.status_code == 503
    assert "not refilled yet" in answer.json()["reason"]


async def test_livekit_is_asked_once_for_many(api: ApiUnderTest) -> None:
    now = 100.0
    rooms = FakeRooms()
    container = api.container
    health = Health(container.store, container.hosts, rooms, container.breakers, default_target=3, clock=lambda: now)
    await asyncio.gather(*(health.report() for _ in range(5)))
    assert rooms.pings == 1
    now += 1
    await health.report()
    assert rooms.pings == 1
    now += 2
    await health.report()
    assert rooms.pings == 2
    await health.aclose()


@pytest.mark.parametrize("path", ["/health/live", "/health/ready", "/api/health", "/metrics"])
async def test_a_head_request_is_answered_like_the_others(api: ApiUnderTest, path: str) -> None:
    whole, head = await api.client.get(path), await api.client.head(path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    assert head.headers["content-type"] == whole.headers["content-type"]


# --- metrics -------------------------------------------------------------------------------------------


def _value(text: str, name: str) -> float:
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    assert found, name
    return float(found[1])


async def test_metrics(api: ApiUnderTest) -> None:
    await _healthy(api)
    api.container.hosts.silent = 1  # type: ignore[attr-defined]
    await api.start()
    await api.start()
    await api.start({})
    await api.container.store.count_spawn_failure("spawn_timeout")
    answer = await api.client.get("/metrics")
    text = answer.text
    assert answer.headers["content-type"].startswith("text/plain")
    expected = {
        'greenroom_start_requests_total{outcome="warm"}': 1,
        'greenroom_start_requests_total{outcome="cold"}': 1,
        'greenroom_start_requests_total{outcome="rejected"}': 1,
        'greenroom_start_seconds_count{outcome="warm"}': 1,
        "greenroom_dead_claims_total": 1,
        'greenroom_http_requests_total{method="POST",route="/api/session/start",status="422"}': 1,
        "greenroom_store_up": 1,
        "greenroom_pool_target": 3,
        "greenroom_pool_ready": 0,
        "greenroom_pool_starting": 0,
        'greenroom_sessions{status="ready"}': 1,
        'greenroom_sessions{status="starting"}': 1,
        'greenroom_spawn_failures_total{reason="spawn_timeout"}': 1,
        'greenroom_host_up{host="h1"}': 1,
        'greenroom_agent_private_memory_bytes{host="h1"}': 11_000_000,
    }
    assert {name: _value(text, name) for name in expected} == expected
    assert "greenroom_start_dead_claims" not in text
    assert _value(text, "greenroom_refill_lag_seconds") >= 0
    assert _value(text, 'greenroom_host_heartbeat_age_seconds{host="h1"}') >= 0
    assert _value(text, 'greenroom_spawn_seconds_bucket{le="+Inf"}') == 0


async def test_a_request_that_comes_again_is_no_new_start(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    noted: list[str] = []  # not what is left in the log: the sampler takes that every second
    monkeypatch.setattr(api.app.state.api.starts, "note", lambda kind, seconds: noted.append(kind))
    await api.warm()
    for user in ("warm", "warm", "cold", "cold"):
        await api.start({"userId": user}, headers={"Idempotency-Key": user})
    text = (await api.client.get("/metrics")).text
    of = 'greenroom_start_requests_total{{outcome="{}"}}'.format
    assert [_value(text, of(outcome)) for outcome in ("warm", "cold", "replayed")] == [1, 1, 2]
    assert noted == ["warm", "cold"]


async def test_one_that_comes_again_before_it_was_answered_is_no_new_start(api: ApiUnderTest) -> None:
    api.queue.away = True
    assert (await api.start(headers={"Idempotency-Key": "k"})).status_code == 503
    api.queue.away = False
    assert (await api.start(headers={"Idempotency-Key": "k"})).status_code == 202
    text = (await api.client.get("/metrics")).text
    assert _value(text, 'greenroom_start_requests_total{outcome="replayed"}') == 1


async def test_metrics_while_redis_is_away(api: ApiUnderTest) -> None:
    await _redis_away(api)
    answer = await api.client.get("/metrics")
    assert answer.status_code == 200
    assert _value(answer.text, "greenroom_store_up") == 0


async def test_metrics_while_redis_answers_nothing(api: ApiUnderTest, monkeypatch: pytest.MonkeyPatch) -> None:
    async def never(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("orchestrator.api.state.STORE_DEADLINE_S", 0.01)
    monkeypatch.setattr(api.container.store, "counts", never)
    answer = await api.client.get("/metrics")
    assert answer.status_code == 200
    assert _value(answer.text, "greenroom_store_up") == 0


# --- LiveKit's webhooks --------------------------------------------------------------------------------


def _signed(body: bytes, secret: str = LIVEKIT_SECRET) -> dict[str, str]:
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    token = livekit.AccessToken(LIVEKIT_KEY, secret).with_sha256(digest).to_jwt()
    return {"Authorization": token, "Content-Type": "application/webhook+json"}


async def _told(api: ApiUnderTest, event: str, room: str, kind: str = "STANDARD", *, sid: str = "RM_1") -> int:
    person = {"identity": "x", "kind": kind}
    told = {"event": event, "room": {"name": room, "sid": sid}, "participant": person, "id": f"EV_{uuid4()}"}
    body = json.dumps(told).encode()
    answer = await api.client.post("/api/livekit/webhook", content=body, headers=_signed(body))
    return answer.status_code


async def _state(api: ApiUnderTest, session_id: str) -> SessionState:
    session = await api.container.store.get(session_id)
    assert session is not None
    return session.state


async def test_joining_leaving_and_closing(api: ApiUnderTest) -> None:
    [session_id] = await api.warm()
    await api.start()
    for nobody in ("AGENT", "EGRESS"):
        assert await _told(api, "participant_joined", session_id, nobody) == 204
        assert await _state(api, session_id) is SessionState.ASSIGNED
    assert await _told(api, "participant_joined", session_id) == 204
    assert await _state(api, session_id) is SessionState.ACTIVE
    assert await _told(api, "participant_left", session_id) == 204
    session = await api.container.store.get(session_id)
    assert session is not None
    assert session.user_left_at is not None
    assert await _told(api, "room_finished", session_id) == 204
    assert await _state(api, session_id) is SessionState.ENDED


async def test_the_end_of_an_earlier_room_of_the_same_name(api: ApiUnderTest) -> None:
    [session_id] = await api.warm()
    await api.start()
    api.rooms.sids[session_id] = "RM_2"
    assert await _told(api, "room_finished", session_id, sid="RM_1") == 204
    assert await _state(api, session_id) is SessionState.ASSIGNED
    assert await _told(api, "room_finished", session_id, sid="RM_2") == 204
    assert await _state(api, session_id) is SessionState.ENDED


@pytest.mark.parametrize("room", ["somebody-elses", "prewarm_00000000000000000000000000000000", ""])
@pytest.mark.parametrize("event", ["participant_joined", "participant_left", "room_finished", "track_published"])
async def test_unknown_rooms_are_ignored(api: ApiUnderTest, event: str, room: str) -> None:
    assert await _told(api, event, room) == 204
    assert [key async for key in api.container.client.scan_iter("session:*")] == []


@pytest.mark.parametrize("case", ["unsigned", "wrong key", "another body", "not text", "nonsense"])
async def test_a_webhook_that_is_not_livekits(api: ApiUnderTest, case: str) -> None:
    body = b'{"event":"room_finished"}' if case != "not text" else b"\xff"
    headers = {
        "unsigned": {},
        "wrong key": _signed(body, "another-secret-for-tests-of-32-chars"),
        "another body": _signed(b"{}"),
        "not text": _signed(body),
        "nonsense": {"Authorization": "nonsense"},
    }[case]
    answer = await api.client.post("/api/livekit/webhook", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")


async def test_a_webhook_may_be_larger_than_a_callers_body(api: ApiUnderTest) -> None:
    body = json.dumps({"event": "room_started", "room": {"name": "x", "metadata": "x" * 30_000}}).encode()
    assert (await api.client.post("/api/livekit/webhook", content=body, headers=_signed(body))).status_code == 204
    answer = await api.client.post("/api/livekit/webhook", content=b"x" * 65_537)
    assert answer.status_code == 413
