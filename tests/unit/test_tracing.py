"""Traces: nothing of them is loaded while they are off; on, what was carried elsewhere is gone on with."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from contract import tracing
from tests.support.api import api_under_test
from tests.support.otlp import Collector, collector

OFF = """
import asyncio, sys
sys.path.insert(0, ".")
from contract import tracing
from tests.support.api import api_under_test

async def main():
    async with api_under_test() as api:
        await api.warm()
        answer = await api.start()
        assert answer.status_code == 200, answer.text
        assert (await api.client.get("/metrics")).status_code == 200

asyncio.run(main())
assert tracing.carried() is None
# The client of Redis loads other parts.
parts = ("opentelemetry.sdk.trace", "opentelemetry.exporter", "opentelemetry.instrumentation")
loaded = [name for name in sys.modules if name.startswith(parts)]
assert not loaded, loaded
"""
PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def sent() -> Iterator[Collector]:
    with collector() as listening:
        yield listening
        tracing.end()


def test_off_nothing_of_it_is_loaded_for_a_start() -> None:
    done = subprocess.run([sys.executable, "-c", OFF], capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stderr


def test_off_nothing_is_carried_and_nothing_happens() -> None:
    assert tracing.begin(None, "test") is None
    with tracing.span("x", PARENT):
        assert tracing.carried() is None
    tracing.record("x", PARENT, 1.0, 2.0)
    tracing.end()
    assert not tracing.is_on()


def test_what_was_carried_is_gone_on_with(sent: Collector) -> None:
    tracing.begin(sent.url + "/", "test", host="h1")
    now = time.time()
    with tracing.span("outer", PARENT, session_id="s", nothing=None):
        carried = tracing.carried()
        assert tracing.trace_id() == "a" * 32
        with tracing.span("inner"):
            pass
    tracing.record("past", carried, now - 5, now - 7)
    tracing.end()
    spans = {span.name: span for span in sent.spans}
    assert spans.keys() == {"outer", "inner", "past"}
    assert {span.trace for span in sent.spans} == {"a" * 32}
    assert spans["outer"].parent == "b" * 16
    assert spans["inner"].parent == spans["past"].parent == spans["outer"].id
    assert spans["past"].began_at == pytest.approx(now - 5)
    assert spans["past"].ended_at == spans["past"].began_at, "none ends before it began"
    assert spans["outer"].attributes.keys() == {"session_id"}
    assert spans["outer"].service == "greenroom-test"
    assert tracing.trace_id(carried) == "a" * 32


@pytest.mark.parametrize("roots", [True, False])
def test_who_may_begin_a_trace(sent: Collector, roots: bool) -> None:
    tracing.begin(sent.url, "test", roots=roots)
    with tracing.span("first"):
        pass
    tracing.record("no parent", None, 1.0, 2.0)
    tracing.end()
    assert [span.name for span in sent.spans] == (["first"] if roots else [])


@pytest.mark.parametrize(
    "host", ["voice.myhealth.com", "console.example.com", "events.example.com", "metrics.example.com:8443"]
)
async def test_what_a_site_is_called_keeps_no_request_from_being_traced(sent: Collector, host: str) -> None:
    assert await _traced(sent, host, "/api/session/s1", "/api/pool") == {"/api/session/s1", "/api/pool"}


async def test_what_machines_ask_for_and_streams_are_not_traced(sent: Collector) -> None:
    quiet = (
        "/api/health", "/health/live", "/health/ready", "/metrics", "/console", "/assets/index.js",
        "/api/events", "/api/session/s1/events",
    )  # fmt: skip
    assert await _traced(sent, "voice.example.com", *quiet, "/api/session/health") == {"/api/session/health"}


async def _traced(sent: Collector, host: str, *paths: str) -> set[str]:
    """Those of the paths of which the collector heard."""
    async with api_under_test(otel_exporter_otlp_endpoint=sent.url) as api:
        for path in paths:
            await api.client.get(path, headers={"Host": host})
    tracing.end()
    told = " ".join(value for span in sent.spans for value in span.attributes.values())
    return {path for path in paths if f'"{path}"' in told}


def test_a_collector_that_is_away_costs_a_moment_and_no_error() -> None:
    tracing.begin("http://127.0.0.1:1", "test", roots=True)
    with tracing.span("lost"):
        pass
    tracing.end()
    assert not tracing.is_on()
