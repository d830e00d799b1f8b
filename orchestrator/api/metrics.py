"""What this process measures of itself. What the store knows is read at the scrape: ``store_metrics``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Literal, get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

StartOutcome = Literal["warm", "cold", "replayed", "limited", "rejected"]
"""A request that was answered before, and came again, is ``replayed``; one too many is ``limited``."""

ClosedWhy = Literal["late", "crowded", "large"]
"""A connection whose client did not send or read in time; one of too many that wait for that; a request without end."""

START_BOUNDS_S = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
CLICK_BOUNDS_S = (0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
CLICK_PARTS = {
    "answer": "answer",
    "token": "token",
    "connected": "connected",
    "agentSeen": "agent_seen",
    "firstSound": "first_sound",
}
"""The marks of a user's page, and their names as labels."""


class Metrics:
    """Counters and histograms in a registry of their own, so that two apps in one process do not meet."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._starts = Counter(
            "greenroom_start_requests", "Start requests by outcome.", ["outcome"], registry=self._registry
        )
        self._start_seconds = Histogram(
            "greenroom_start_seconds",
            "Time to answer a start request, by outcome.",
            ["outcome"],
            buckets=START_BOUNDS_S,
            registry=self._registry,
        )
        self._click_seconds = Histogram(
            "greenroom_click_to_sound_seconds",
            "From the user's click to the agent's first sound, as the page measured it.",
            buckets=CLICK_BOUNDS_S,
            registry=self._registry,
        )
        self._click_parts = Histogram(
            "greenroom_click_part_seconds",
            "Each part of that, from the one before it.",
            ["part"],
            buckets=CLICK_BOUNDS_S,
            registry=self._registry,
        )
        self._streams = Gauge("greenroom_event_streams", "Open event streams.", registry=self._registry)
        self._requests = Counter(
            "greenroom_http_requests", "Requests by route and status.", ["method", "route", "status"],
            registry=self._registry,
        )  # fmt: skip
        connections_closed = Counter(
            "greenroom_connections_closed", "Connections closed that waited for their client, by why.", ["reason"],
            registry=self._registry,
        )  # fmt: skip
        reasons: tuple[ClosedWhy, ...] = get_args(ClosedWhy)
        self._by_reason = {reason: connections_closed.labels(reason) for reason in reasons}
        outcomes: tuple[StartOutcome, ...] = get_args(StartOutcome)
        self._by_outcome = {o: (self._starts.labels(o), self._start_seconds.labels(o)) for o in outcomes}
        self._by_request: dict[tuple[str, str, int], Counter] = {}

    def started(self, outcome: StartOutcome, seconds: float) -> None:
        """A start request was answered."""
        count, histogram = self._by_outcome[outcome]
        count.inc()
        histogram.observe(seconds)

    def clicked(self, marks: Sequence[tuple[str, float]]) -> None:
        """A user's page measured this, in milliseconds after the click, in the order in which it happened."""
        for (_, before_ms), (name, at_ms) in pairwise(marks):
            self._click_parts.labels(CLICK_PARTS[name]).observe((at_ms - before_ms) / 1000)
            if name == "firstSound":
                self._click_seconds.observe(at_ms / 1000)

    def watch_streams(self, count: Callable[[], int]) -> None:
        """Ask this for the number of open streams."""
        self._streams.set_function(count)

    def closed(self, why: ClosedWhy) -> None:
        """A connection was closed that waited for its client."""
        self._by_reason[why].inc()

    def answered(self, method: str, route: str, status: int) -> None:
        """A request was answered. ``route`` is a template, so that there are few of them."""
        key = (method, route, status)
        counter = self._by_request.get(key)
        if counter is None:
            counter = self._by_request[key] = self._requests.labels(method, route, str(status))
        counter.inc()

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(self._registry)
