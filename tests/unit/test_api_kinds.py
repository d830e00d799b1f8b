"""Several kinds of agents, as callers and operators see them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.domain.breaker import Breaker
from tests.support.api import ADMIN, ApiUnderTest, api_under_test

FILE = '[support]\nagent = "mine:support"\nfloor = 1\nmax = 4\n'


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiUnderTest]:
    file = tmp_path / "agents.toml"
    file.write_text(FILE)
    async with api_under_test(agents_file=file) as api:
        yield api


async def test_a_start_is_given_the_kind_that_it_asks_for(api: ApiUnderTest) -> None:
    [plain] = await api.warm()
    [support] = await api.warm(kind="support")
    answers = [await api.start({"userId": "u", **more}) for more in ({"agent": "support"}, {}, {"agent": "support"})]
    assert [answer.status_code for answer in answers] == [200, 200, 202]
    assert [answer.json()["sessionId"] for answer in answers[:2]] == [support, plain]
    spawned = answers[2].json()["sessionId"]
    assert api.queue.kinds == {spawned: "support"}
    kept = await api.container.client.hget(f"session:{support}", "assignment")  # type: ignore[misc]
    assert "agent" not in json.loads(str(kept)), "an agent is told nothing that it does not know"
    views = [(await api.client.get(f"/api/session/{i}")).json()["agent"] for i in (support, plain, spawned)]
    assert views == ["support", "default", "support"]


async def test_the_kind_is_part_of_what_a_key_stands_for(api: ApiUnderTest) -> None:
    await api.warm(kind="support")
    key = {"Idempotency-Key": "k"}
    first = await api.start({"userId": "u", "agent": "support"}, headers=key)
    assert (await api.start({"userId": "u", "agent": "support"}, headers=key)).json() == first.json()
    other = await api.start({"userId": "u"}, headers=key)
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")


@pytest.mark.parametrize("agent", ["sales", "", "Support", "a:b", "x" * 33, 7, None])
async def test_a_kind_that_there_is_not(api: ApiUnderTest, agent: Any) -> None:
    for path, body, headers in (
        ("/api/session/start", {"userId": "u", "agent": agent}, {}),
        ("/api/pool/resize", {"size": 1, "agent": agent}, ADMIN),
    ):
        answer = await api.client.post(path, json=body, headers=headers)
        assert answer.status_code == 422
        [wrong] = answer.json()["errors"]
        assert wrong["field"] == "agent"
        assert "support" not in answer.text, "what there is is nobody's to find out"


async def test_the_pools_by_kind_and_together(api: ApiUnderTest) -> None:
    await api.warm(2)
    await api.warm(1, kind="support")
    pool = (await api.client.get("/api/pool", headers=ADMIN)).json()
    assert (pool["target"], pool["floor"], pool["ready"], pool["max"], pool["converged"]) == (4, 4, 3, 10, False)
    named = {one["agent"]: (one["target"], one["ready"], one["max"], one["converged"]) for one in pool["agents"]}
    assert named == {"default": (3, 2, 10, False), "support": (1, 1, 4, True)}
    assert pool["reason"].startswith("default: floor 3; ")
    assert "; support: floor 1; " in pool["reason"]


async def test_one_kind_is_resized(api: ApiUnderTest) -> None:
    answer = await api.client.post("/api/pool/resize", json={"size": 4, "agent": "support"}, headers=ADMIN)
    assert (answer.json()["size"], answer.json()["previous"], answer.json()["agent"]) == (4, 1, "support")
    pool = (await api.client.get("/api/pool", headers=ADMIN)).json()
    assert [one["floor"] for one in pool["agents"]] == [3, 4]
    too_many = await api.client.post("/api/pool/resize", json={"size": 5, "agent": "support"}, headers=ADMIN)
    assert (too_many.status_code, too_many.json()["detail"]) == (
        422, "size: should be from 0 to the most of support (4), not 5",
    )  # fmt: skip
    both = await api.client.post("/api/pool/resize", json={"size": 7}, headers=ADMIN)
    assert (both.status_code, both.json()["detail"]) == (
        422, "size: should be from 0 to MAX_BOTS (10) less the 4 of other kinds, not 7",
    )  # fmt: skip


async def test_sessions_of_one_kind(api: ApiUnderTest) -> None:
    [plain] = await api.warm()
    [support] = await api.warm(kind="support")
    listed = {
        agent: [
            s["sessionId"] for s in (await api.client.get(f"/api/sessions?{agent}", headers=ADMIN)).json()["sessions"]
        ]
        for agent in ("agent=support", "agent=default", "agent=sales", "agent=support&status=active")
    }
    assert listed == {
        "agent=support": [support], "agent=default": [plain], "agent=sales": [], "agent=support&status=active": [],
    }  # fmt: skip


async def test_health_names_the_kind_that_is_not_well(api: ApiUnderTest) -> None:
    await api.container.store.refill_begun()
    await api.warm()
    assert (await api.client.get("/api/health")).json()["status"] == "healthy"
    open_one = Breaker(opened=1, since=1.0, open_until=9e9, code="zygote_unavailable", reason="no module named x")
    assert await api.container.breakers.change("support", 0, open_one)
    public = (await api.client.get("/api/health")).json()["parts"]["spawns"]["detail"]
    assert public.startswith("support: they have failed for ")
    assert public.endswith("): zygote_unavailable")
    health = (await api.client.get("/api/health", headers=ADMIN)).json()
    assert health["status"] == "degraded"
    detail = health["parts"]["spawns"]["detail"]
    assert detail.startswith("support: they have failed for ")
    assert "no module named x (zygote_unavailable)" in detail
    assert "default" not in detail
    await api.heartbeat(kinds="default")
    detail = (await api.client.get("/api/health")).json()["parts"]["spawns"]["detail"]
    assert detail == "support: no host that is alive serves it"


async def test_health_says_what_keeps_a_kind_from_being_started(api: ApiUnderTest) -> None:
    await api.container.store.refill_begun()
    of_kinds = {"kinds": "default,support", "ready_kinds": "default", "zygote": "support starting"}
    await api.heartbeat(**of_kinds, zygotes='{"default":"ready","support":"starting"}')
    parts = (await api.client.get("/api/health")).json()["parts"]
    assert parts["hosts"]["ok"] is True
    assert parts["spawns"] == {"ok": False, "detail": "support: its zygote is starting"}
    parts = (await api.client.get("/api/health", headers=ADMIN)).json()["parts"]
    assert parts["spawns"] == {"ok": False, "detail": "support: h1: its zygote is starting"}
    await api.heartbeat("h2", kinds="support")
    assert (await api.client.get("/api/health")).json()["status"] == "healthy", "another host can"


async def test_hosts_say_how_the_zygote_of_each_kind_is(api: ApiUnderTest) -> None:
    statuses = {"default": "ready", "support": "failed: no module named x"}
    await api.heartbeat(
        "h1", kinds="default,support", ready_kinds="default", zygotes=json.dumps(statuses), zygote="support failed: x"
    )
    await api.heartbeat("h2", zygotes="[]")
    hosts = (await api.client.get("/api/hosts", headers=ADMIN)).json()["hosts"]
    assert [host["zygotes"] for host in hosts] == [statuses, {"default": "ready"}]


async def test_metrics_of_each_kind(api: ApiUnderTest) -> None:
    await api.warm(2)
    await api.warm(1, kind="support")
    text = (await api.client.get("/metrics")).text
    assert 'greenroom_agent_pool_ready{kind="default"} 2.0' in text
    assert 'greenroom_agent_pool_target{kind="support"} 1.0' in text
    assert 'greenroom_sessions_waiting{kind="support"} 0.0' in text
    assert 'greenroom_spawn_breaker_state{kind="support"} 0.0' in text
    assert "\ngreenroom_pool_ready 3.0" in text
