"""What the dashboards show: each panel's title, its queries, what it is good for. ``build.py`` makes Grafana's JSON.

Every API tells what the store knows, so of that the greatest is taken, of each series by itself; what is then asked for
all kinds of agents together is their sum. Of what each API counts for itself, the sum.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Query:
    """One PromQL query and its legend."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel. ``unit`` is Grafana's: ``s``, ``bytes``, ``percentunit``, ``currencyUSD``, ``short``, ``reqps``."""

    title: str
    unit: str
    told: str
    queries: tuple[Query, ...]
    stat: bool = False
    """One number, and no course of it."""


@dataclass(frozen=True)
class Board:
    """One dashboard."""

    uid: str
    title: str
    panels: tuple[Panel, ...]


def _quantile(share: float, metric: str, *by: str, window: str = "5m") -> str:
    return f"histogram_quantile({share:g}, max by ({', '.join(['le', *by])}) (rate({metric}_bucket[{window}])))"


def _quantile_of_kinds(share: float, metric: str, *by: str, window: str = "5m") -> str:
    """Of all kinds of agents together."""
    rate = _of_kinds(f"rate({metric}_bucket[{window}])", "le", *by)
    return f"histogram_quantile({share:g}, {rate})"


def _of_kinds(vector: str, *by: str) -> str:
    """The sum over the kinds of agents, of what every API tells."""
    left = f" by ({', '.join(by)}) " if by else ""
    return f"sum{left}(max by ({', '.join(['kind', *by])}) ({vector}))"


def _own_quantile(share: float, metric: str, select: str = "") -> str:
    return f"histogram_quantile({share:g}, sum by (le) (rate({metric}_bucket{select}[5m])))"


POOL = Board(
    "greenroom-pool",
    "Greenroom: pool",
    (
        Panel(
            "Agents that wait",
            "short",
            "Below the target for more than moments: spawns fail, or come slower than users.",
            (
                Query("max(greenroom_pool_ready)", "wait"),
                Query("max(greenroom_pool_target)", "should wait"),
                Query("max(greenroom_pool_starting)", "being started"),
                Query("max(greenroom_pool_floor)", "floor"),
            ),
        ),
        Panel(
            "Agents that wait, by kind",
            "short",
            "One that should have some and has had none for a minute is an alert, whatever the others have.",
            (
                Query("max by (kind) (greenroom_agent_pool_ready)", "{{kind}} wait"),
                Query("max by (kind) (greenroom_agent_pool_target)", "{{kind}} should wait"),
            ),
        ),
        Panel(
            "Sessions that wait for capacity, by kind",
            "short",
            "Users in the queue: a machine that serves their kind would take them.",
            (Query("max by (kind) (greenroom_sessions_waiting)", "{{kind}}"),),
        ),
        Panel(
            "Starts that found an agent waiting",
            "percentunit",
            "The others waited for a spawn. Many cold ones want a larger pool.",
            (Query("greenroom:warm_starts:ratio_rate10m", "warm"),),
        ),
        Panel(
            "Starts",
            "reqps",
            "Answered start requests a second.",
            (Query("sum by (outcome) (rate(greenroom_start_requests_total[5m]))", "{{outcome}}"),),
        ),
        Panel(
            "Time to answer a warm start",
            "s",
            "Above 25 ms at p99: a busy machine. Above 100 ms it is an alert.",
            (
                Query(_own_quantile(0.5, "greenroom_start_seconds", '{outcome="warm"}'), "p50"),
                Query(_own_quantile(0.99, "greenroom_start_seconds", '{outcome="warm"}'), "p99"),
            ),
        ),
        Panel(
            "From the click to the agent's first sound",
            "s",
            "As users' own pages measured it.",
            (
                Query(_own_quantile(0.5, "greenroom_click_to_sound_seconds"), "p50"),
                Query(_own_quantile(0.95, "greenroom_click_to_sound_seconds"), "p95"),
            ),
        ),
        Panel(
            "Time to start an agent",
            "s",
            "From the fork request until it is in its room.",
            (
                Query(_quantile(0.5, "greenroom_spawn_seconds"), "p50"),
                Query(_quantile(0.95, "greenroom_spawn_seconds"), "p95"),
            ),
        ),
        Panel(
            "Failed spawns",
            "short",
            "In five minutes, by reason; docs/operations.md has the remedies.",
            (Query("max by (reason) (increase(greenroom_spawn_failures_total[5m]))", "{{reason}}"),),
        ),
        Panel(
            "Spawn breaker",
            "short",
            "0: spawns are tried; 1: one at a time; 2: none, for they kept failing.",
            (Query("max by (kind) (greenroom_spawn_breaker_state)", "{{kind}}"),),
            stat=True,
        ),
        Panel(
            "Queues: the oldest has waited",
            "s",
            "Users stand in spawn, spawn.<kind> and waiting.",
            (Query("max by (queue) (greenroom_queue_lag_seconds)", "{{queue}}"),),
        ),
        Panel(
            "Queues: length",
            "short",
            "Messages for the workers, and sessions that wait for capacity.",
            (Query("max by (queue) (greenroom_queue_length)", "{{queue}}"),),
        ),
        Panel(
            "Since the last refill",
            "s",
            "Above 95 s neither beat nor a claim refills.",
            (Query("max(greenroom_refill_lag_seconds)", "refill"),),
            stat=True,
        ),
        Panel(
            "Starts that failed",
            "percentunit",
            "The budget is one in a thousand.",
            (
                Query("greenroom:start_errors:ratio_rate5m", "5 min"),
                Query("greenroom:start_errors:ratio_rate1h", "1 h"),
            ),
        ),
    ),
)

VOICE = Board(
    "greenroom-voice",
    "Greenroom: voice quality",
    (
        Panel(
            "Calls with a user",
            "short",
            "Now.",
            (Query("max(voice_agent_active_sessions)", "calls"),),
            stat=True,
        ),
        Panel(
            "From the user's last word to the answer's first sound",
            "s",
            "Above 800 ms at p95 it is an alert.",
            (
                Query(_quantile(0.5, "voice_latency_seconds", "kind"), "p50 {{kind}}"),
                Query(_quantile(0.95, "voice_latency_seconds", "kind"), "p95 {{kind}}"),
            ),
        ),
        Panel(
            "Speech to text, p95",
            "s",
            "From the end of the speech to its words.",
            (Query(_quantile_of_kinds(0.95, "voice_stt_duration_seconds", "provider"), "{{provider}}"),),
        ),
        Panel(
            "Language model, p95",
            "s",
            "To the answer's first word.",
            (Query(_quantile_of_kinds(0.95, "voice_llm_duration_seconds", "provider"), "{{provider}}"),),
        ),
        Panel(
            "Text to speech, p95",
            "s",
            "From the first word to the first sound.",
            (Query(_quantile_of_kinds(0.95, "voice_tts_duration_seconds", "provider"), "{{provider}}"),),
        ),
        Panel(
            "Answers a minute",
            "short",
            "All calls together, by kind of agent.",
            (Query("60 * max by (kind) (rate(voice_latency_seconds_count[5m]))", "{{kind}}"),),
        ),
        Panel(
            "Cut short by the user",
            "percentunit",
            "Answers that the user interrupted, of all.",
            (
                Query(
                    "max by (kind) (rate(voice_barge_ins_total[5m]))"
                    " / (max by (kind) (rate(voice_latency_seconds_count[5m])) > 0)",
                    "{{kind}}",
                ),
            ),
        ),
        Panel(
            "Errors of speech recognition",
            "short",
            "In five minutes.",
            (Query(_of_kinds("increase(voice_transcription_errors_total[5m])", "provider"), "{{provider}}"),),
        ),
        Panel(
            "Calls that silence ended",
            "short",
            "In an hour: nobody spoke for INACTIVE_TIMEOUT_S.",
            (Query("max by (kind) (increase(voice_silence_timeouts_total[1h]))", "{{kind}}"),),
        ),
        Panel(
            "Length of a call",
            "s",
            "Of those that ended in the last hour.",
            (
                Query(_quantile(0.5, "voice_session_duration_seconds", "kind", window="1h"), "p50 {{kind}}"),
                Query(_quantile(0.95, "voice_session_duration_seconds", "kind", window="1h"), "p95 {{kind}}"),
            ),
        ),
        Panel(
            "Agents replaced in a call",
            "short",
            "In an hour: each is one sentence of excuse that a user heard.",
            (Query("max by (reason) (increase(greenroom_replacements_total[1h]))", "{{reason}}"),),
        ),
    ),
)

HOSTS = Board(
    "greenroom-hosts",
    "Greenroom: hosts",
    (
        Panel(
            "Hosts that live",
            "short",
            "Of those that were heard of today.",
            (
                Query("sum(max by (host) (greenroom_host_up))", "live"),
                Query("sum(max by (host) (greenroom_host_draining))", "drain"),
            ),
            stat=True,
        ),
        Panel(
            "Agents that there may be",
            "percentunit",
            "Used of what the hosts have room for, or of MAX_BOTS. Above 80 % it is an alert.",
            (Query("greenroom:capacity:used_ratio", "used"),),
            stat=True,
        ),
        Panel(
            "Agents",
            "short",
            "Of each host.",
            (Query("max by (host) (greenroom_host_agents)", "{{host}}"),),
        ),
        Panel(
            "Room for agents",
            "short",
            "As each host measured, and by what it is limited.",
            (Query("max by (host, limit) (greenroom_host_capacity)", "{{host}}: {{limit}}"),),
        ),
        Panel(
            "Since the last heartbeat",
            "s",
            "Above HOST_LEASE_S (5) that host hands out nothing; above HOST_LOST_S (10) it is lost.",
            (Query("max by (host) (greenroom_host_heartbeat_age_seconds)", "{{host}}"),),
        ),
        Panel(
            "Private memory of an agent",
            "bytes",
            "The mean of each host; growth is a leak.",
            (Query("max by (host) (greenroom_agent_private_memory_bytes)", "{{host}}"),),
        ),
        Panel(
            "Redis's memory",
            "percentunit",
            "Above 80 % it is an alert; at the limit it refuses writes.",
            (Query("max(greenroom_redis_memory_used_bytes / greenroom_redis_memory_max_bytes)", "used"),),
        ),
        Panel(
            "Requests",
            "reqps",
            "All APIs together, by status.",
            (Query("sum by (status) (rate(greenroom_http_requests_total[5m]))", "{{status}}"),),
        ),
        Panel(
            "Open event streams",
            "short",
            "Pages and consoles that listen.",
            (Query("sum(greenroom_event_streams)", "streams"),),
        ),
    ),
)

COST = Board(
    "greenroom-cost",
    "Greenroom: cost",
    (
        Panel(
            "Cost of a call",
            "currencyUSD",
            "Of those that ended in the last hour, by the prices in PRICES.",
            (
                Query(
                    "max by (kind) (increase(voice_cost_per_call_usd_sum[1h]))"
                    " / (max by (kind) (increase(voice_cost_per_call_usd_count[1h])) > 0)",
                    "mean {{kind}}",
                ),
                Query(_quantile(0.95, "voice_cost_per_call_usd", "kind", window="1h"), "p95 {{kind}}"),
            ),
        ),
        Panel(
            "Dollars an hour",
            "currencyUSD",
            "At the rate of the last five minutes, by provider.",
            (Query(f"3600 * {_of_kinds('rate(voice_cost_usd_total[5m])', 'provider')}", "{{provider}}"),),
        ),
        Panel(
            "Dollars in a day",
            "currencyUSD",
            "Of the last 24 hours.",
            (Query(_of_kinds("increase(voice_cost_usd_total[1d])"), "all"),),
            stat=True,
        ),
        Panel(
            "Calls that ended in an hour",
            "short",
            "With a user in them.",
            (Query("max by (kind) (increase(voice_session_duration_seconds_count[1h]))", "{{kind}}"),),
            stat=True,
        ),
        Panel(
            "Units used",
            "short",
            "A minute, by provider: seconds of speech, tokens, characters.",
            (Query(f"60 * {_of_kinds('rate(voice_usage_total[5m])', 'provider', 'unit')}", "{{provider}} {{unit}}"),),
        ),
    ),
)

BOARDS = (POOL, VOICE, HOSTS, COST)
