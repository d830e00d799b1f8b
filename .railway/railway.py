"""Greenroom on Railway: `railway config plan`, then `railway config apply`. Set-up and traps: docs/deploy/railway.md.

For services that are made with this file. Services that were made before it, from railway.toml, go on with that until
2026-12-01: Railway lets one service be managed by one of the two.

The images are built once, elsewhere, and named here. A service that Railway built from this repository would read
railway.toml at its top, too.
"""

from __future__ import annotations

import shlex

from railway_sdk import create_railway_context, define_railway, group, image, project, redis, service

REGISTRY = "ghcr.io/my-organisation"
VERSION = "0.1.0"
LIVEKIT = "my-project.livekit.cloud"
"""LiveKit Cloud: no UDP comes into Railway, so no LiveKit of one's own runs there."""

# Railway's start command takes the place of the image's entry point, so that is part of it.
ENTRY_POINT = ["/usr/bin/tini", "--", "greenroom", "serve"]

API_PORT = "8080"
MAX_CALL_S = 3600
HOST_END_S = 120
"""What a host and its worker take besides: the worker's last task (70 s), the end of the last agents (30 s)."""


def railway_service(name: str, start: list[str] | None = None, *, draining_s: int = 30, **config):
    """A service of one of our images, never put to sleep: nobody would beat, and no agent would wait."""
    deploy = {
        "restartPolicyType": "ALWAYS",
        "sleepApplication": False,
        # What it has between SIGTERM and SIGKILL. Without it: nothing.
        "drainingSeconds": draining_s,
        **config.pop("deploy", {}),
    }
    return service(name, start=start and shlex.join(start), deploy=deploy, **config)


@define_railway
def main(ctx=None):
    """Redis, the API, hosts with their workers, beat, and the pages."""
    # Shared variables of the environment, set once in the dashboard, before the first apply. One that is not set is
    # empty, which is to Greenroom as if it were not there.
    secret = (ctx or create_railway_context()).shared
    store = redis("redis")
    orchestrator = image(f"{REGISTRY}/greenroom-orchestrator:{VERSION}")
    shared = {
        "REDIS_URL": store.env.REDIS_URL,
        "LIVEKIT_URL": f"wss://{LIVEKIT}",
        "LIVEKIT_API_KEY": secret.LIVEKIT_API_KEY,
        "LIVEKIT_API_SECRET": secret.LIVEKIT_API_SECRET,
        # All hosts' together. What one takes, it measures by its own memory and processors.
        "MAX_BOTS": "50",
        "PREWARM_POOL_SIZE": "3",
        "MAX_CALL_S": str(MAX_CALL_S),
        "LOG_FORMAT": "json",
        "OTEL_EXPORTER_OTLP_ENDPOINT": secret.OTEL_EXPORTER_OTLP_ENDPOINT,
        "OTEL_EXPORTER_OTLP_HEADERS": secret.OTEL_EXPORTER_OTLP_HEADERS,
    }
    api = railway_service(
        "api",
        [*ENTRY_POINT, "api"],
        source=orchestrator,
        replicas=2,
        # Asked for at a deploy only, and by IPv4: BIND=:: answers both families.
        healthcheck="/health/live",
        healthcheckTimeout=120,
        deploy={"overlapSeconds": 10},
        env={
            **shared,
            "BIND": "::",
            "PORT": API_PORT,
            # Railway's edges put an address of their own behind the user's, another one each time. So this limit is one
            # for everybody together; callers are told apart by API_KEYS.
            "START_LIMIT_IP": "600/minute",
            "ADMIN_TOKEN": secret.ADMIN_TOKEN,
            "API_KEYS": secret.API_KEYS,
            "ALLOWED_ORIGINS": secret.ALLOWED_ORIGINS,
        },
    )
    # A worker and its host are one service: they meet on a Unix socket. RAILWAY_REPLICA_ID is the host's id.
    host = railway_service(
        "host",
        [*ENTRY_POINT, "worker", "host"],
        source=orchestrator,
        replicas=2,
        draining_s=MAX_CALL_S + HOST_END_S,
        env={
            **shared,
            # SIGTERM: no new sessions, and the calls go on to their ends.
            "DRAIN_ON_TERM": "true",
            "DRAIN_TIMEOUT_S": str(MAX_CALL_S),
            "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": str(MAX_CALL_S + HOST_END_S),
            # What agents are given besides, separated by commas: they send spans, too.
            "AGENT_ENV": "OTEL_EXPORTER_OTLP_HEADERS",
            "ASSEMBLY_API_KEY": secret.ASSEMBLY_API_KEY,
            "GROQ_API_KEY": secret.GROQ_API_KEY,
            "INWORLD_API_KEY": secret.INWORLD_API_KEY,
        },
    )
    beat = railway_service("beat", [*ENTRY_POINT, "beat"], source=orchestrator, replicas=2, env=shared)
    frontend = railway_service(
        "frontend",
        source=image(f"{REGISTRY}/greenroom-frontend:{VERSION}"),
        env={
            "PORT": "3000",
            "FRONTEND_PORT": "3000",
            "API_HOST": api.env.RAILWAY_PRIVATE_DOMAIN,
            "API_PORT": API_PORT,
            # Where pages may connect to. LiveKit Cloud sends them on to the region that is near.
            "LIVEKIT_SOURCES": f"wss://{LIVEKIT} https://{LIVEKIT} wss://*.livekit.cloud https://*.livekit.cloud",
        },
        healthcheck="/",
        healthcheckTimeout=60,
    )
    return project("greenroom", resources=[group("Greenroom", [store, api, host, beat, frontend])])
