"""What this process measures of itself. What the store knows is read at the scrape: ``store_metrics``."""

from __future__ import annotations

from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

StartOutcome = Literal["warm", "cold", "rejected"]

START_BOUNDS_S = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


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
        self._dead_claims = Counter(
            "greenroom_start_dead_claims",
            "Claims of this process whose agent did not acknowledge.",
            registry=self._registry,
        )
        self._requests = Counter(
            "greenroom_http_requests", "Requests by route and status.", ["method", "route", "status"],
            registry=self._registry,
        )  # fmt: skip
        outcomes: tuple[StartOutcome, ...] = ("warm", "cold", "rejected")
        self._by_outcome = {o: (self._starts.labels(o), self._start_seconds.labels(o)) for o in outcomes}
        self._by_request: dict[tuple[str, str, int], Counter] = {}

    def started(self, outcome: StartOutcome, seconds: float, dead: int = 0) -> None:
        """A start request was answered, after so many agents that did not acknowledge."""
        count, histogram = self._by_outcome[outcome]
        count.inc()
        histogram.observe(seconds)
        if dead:
            self._dead_claims.inc(dead)

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
