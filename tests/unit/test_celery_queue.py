"""What a message to the workers carries: when it was queued, and where its request is in its trace."""

from __future__ import annotations

import time
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


async def test_the_trace_of_the_request(app: Celery) -> None:
    with collector() as listening:
        tracing.begin(listening.url, "test", roots=True)
        try:
            with tracing.span("request"):
                await q.CeleryQueue(app).spawn("session_00000000", urgent=True)
                assert taken(app, q.SPAWN_QUEUE)["traceparent"] == tracing.carried()
        finally:
            tracing.end()
