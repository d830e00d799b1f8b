"""What a message to the workers carries: when it was queued, and where its request is in its trace."""

from __future__ import annotations

import importlib
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery

from contract import tracing
from orchestrator.adapters import celery_queue as q
from tests.support.otlp import collector

QUEUED = (q.SPAWN_QUEUE, q.POOL_QUEUE)


@pytest.fixture
def app() -> Celery:
    app = Celery("tests", broker="memory://", set_as_current=False)
    app.conf.task_queues = [q.shared_queue(name) for name in QUEUED]
    app.conf.task_default_exchange = ""
    return app


def taken(app: Celery, queue: str) -> dict[str, Any]:
    """The headers of the message that is first in a queue."""
    with app.connection() as connection:
        headers: dict[str, Any] = connection.channel()._get(queue)["headers"]
    return headers


async def test_when_it_was_queued(app: Celery) -> None:
    before = time.time()
    await q.CeleryQueue(app).refill()
    headers = taken(app, q.POOL_QUEUE)
    assert before <= headers[q.QUEUED_AT] <= time.time()
    assert "traceparent" not in headers


@pytest.mark.parametrize("delay_s", [0.0, 10.0])
async def test_a_worker_whose_clock_is_minutes_ahead_still_takes_it(app: Celery, delay_s: float) -> None:
    await q.CeleryQueue(app).refill(delay_s=delay_s)
    expires = datetime.fromisoformat(taken(app, q.POOL_QUEUE)["expires"])
    assert expires > datetime.now(UTC) + timedelta(minutes=4)


def test_so_is_what_beat_sends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "a-secret-of-32-characters-or-more")
    celeryconfig = importlib.import_module("celeryconfig")
    assert {entry["options"]["expires"] for entry in celeryconfig.beat_schedule.values()} == {q.EXPIRES_S}


async def test_the_trace_of_the_request(app: Celery) -> None:
    with collector() as listening:
        tracing.begin(listening.url, "test", roots=True)
        try:
            with tracing.span("request"):
                await q.CeleryQueue(app).spawn("session_00000000", urgent=True)
                assert taken(app, q.SPAWN_QUEUE)["traceparent"] == tracing.carried()
        finally:
            tracing.end()
