"""What calls took, used and cost, as Prometheus families: counted by hosts, kept in the store."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import get_args

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from contract.keys import DEFAULT_KIND
from contract.measures import Unit
from orchestrator.domain.voice import (
    ANSWER_BOUNDS_S,
    CALL_BOUNDS_S,
    CALL_BOUNDS_USD,
    Observations,
    QueueLag,
    StoreMemory,
)

HISTOGRAMS: Mapping[str, tuple[str, str, Sequence[float], bool]] = {
    "latency_seconds": (
        "voice_latency_seconds",
        "From the end of the user's speech to the answer's first sound.",
        ANSWER_BOUNDS_S,
        False,
    ),
    "stt_seconds": (
        "voice_stt_duration_seconds",
        "From the end of the user's speech to its words.",
        ANSWER_BOUNDS_S,
        True,
    ),
    "llm_seconds": (
        "voice_llm_duration_seconds",
        "From the question to the answer's first word.",
        ANSWER_BOUNDS_S,
        True,
    ),
    "tts_seconds": (
        "voice_tts_duration_seconds",
        "From the answer's first word to its first sound.",
        ANSWER_BOUNDS_S,
        True,
    ),
    "session_seconds": (
        "voice_session_duration_seconds",
        "Length of calls that are over, from when the user came.",
        CALL_BOUNDS_S,
        False,
    ),
    "call_usd": (
        "voice_cost_per_call_usd",
        "What the providers charged for a call, by PRICES.",
        CALL_BOUNDS_USD,
        False,
    ),
}
"""The store's name, the metric's name and words, the bounds, and whether it is by provider."""
COUNTERS: Mapping[str, tuple[str, str, bool]] = {
    "transcription_errors": ("voice_transcription_errors", "Errors of speech recognition.", True),
    "barge_ins": ("voice_barge_ins", "Answers that the user cut short by speaking.", False),
    "silence_timeouts": ("voice_silence_timeouts", "Calls that ended because nobody spoke.", False),
    "cost_usd": ("voice_cost_usd", "What the providers charged, by PRICES.", True),
}

Series = Mapping[tuple[str, str], Mapping[str, float]]
"""By kind and provider: what follows them in the store's field, and its value."""


def voice_families(found: Observations, active: int) -> Iterator[Metric]:
    """All families; those that nobody counted yet are there with zeros, so that a query finds them."""
    words = "Calls with a user in them."
    yield GaugeMetricFamily("voice_agent_active_sessions", words, value=active)
    for name, (metric, told, bounds, by_provider) in HISTOGRAMS.items():
        yield _histogram(metric, told, bounds, _series(found, name, by_provider=by_provider), by_provider)
    for name, (metric, told, by_provider) in COUNTERS.items():
        labels = ["kind", "provider"] if by_provider else ["kind"]
        counter = CounterMetricFamily(metric, told, labels=labels)
        for (kind, provider), values in _series(found, name, by_provider=by_provider).items():
            counter.add_metric([kind, provider][: len(labels)], values.get("", 0.0))
        yield counter
    used = CounterMetricFamily("voice_usage", "Units that providers charge for.", labels=["kind", "provider", "unit"])
    for unit in get_args(Unit):
        for (kind, provider), values in _series(found, f"used_{unit}", by_provider=True).items():
            used.add_metric([kind, provider, unit], values.get("", 0.0))
    yield used


def queue_families(lags: Iterable[QueueLag]) -> Iterator[Metric]:
    """The workers' queues."""
    length = GaugeMetricFamily("greenroom_queue_length", "Messages (or sessions) that wait.", labels=["queue"])
    age = GaugeMetricFamily("greenroom_queue_lag_seconds", "How long the oldest of them has waited.", labels=["queue"])
    for lag in lags:
        length.add_metric([lag.name], lag.length)
        age.add_metric([lag.name], lag.oldest_s)
    yield length
    yield age


def memory_families(memory: StoreMemory | None) -> Iterator[Metric]:
    """Redis's memory; nothing where it does not say."""
    if memory is None:
        return
    yield GaugeMetricFamily("greenroom_redis_memory_used_bytes", "Memory that Redis uses.", value=memory.used_bytes)
    words = "Memory that Redis may use, or that its machine has where there is no such limit."
    yield GaugeMetricFamily("greenroom_redis_memory_max_bytes", words, value=memory.most_bytes)


def _series(found: Observations, name: str, *, by_provider: bool) -> Series:
    series: dict[tuple[str, str], dict[str, float]] = {}
    for field, value in found.items():
        metric, *rest = field.split("|")
        if metric == name and len(rest) >= 2:
            kind, provider, *part = rest
            series.setdefault((kind, provider if by_provider else ""), {})["|".join(part)] = value
    return series or {(DEFAULT_KIND, "offline" if by_provider else ""): {}}


def _histogram(metric: str, words: str, bounds: Sequence[float], series: Series, by_provider: bool) -> Metric:
    labels = ["kind", "provider"] if by_provider else ["kind"]
    family = HistogramMetricFamily(metric, words, labels=labels)
    for (kind, provider), values in series.items():
        buckets = [(str(bound), values.get(str(bound), 0.0)) for bound in bounds]
        count = values.get("count", 0.0)
        family.add_metric([kind, provider][: len(labels)], [*buckets, ("+Inf", count)], values.get("sum", 0.0))
    return family
