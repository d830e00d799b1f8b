"""The platforms that ``greenroom doctor --deploy`` knows, and what their files set by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum

IMAGE_SETS = {
    "BIND": "0.0.0.0",  # noqa: S104 - a container's own network
    "PORT": "8080",
    "DRAIN_ON_TERM": "true",
}
"""What Dockerfile.orchestrator says where a platform says nothing."""

COMPOSE_SETS = {
    "REDIS_URL": "redis://:{REDIS_PASSWORD}@redis:6379/0",
    "LIVEKIT_URL": "ws://livekit:7880",
    "LIVEKIT_PUBLIC_URL": "wss://{LIVEKIT_DOMAIN}",
    "TRUSTED_PROXIES": "10.97.0.0/24",
    "DRAIN_TIMEOUT_S": "3600",
}
"""What docker-compose.prod.yml makes of its variables."""

COMPOSE_WANTS = ("DOMAIN", "LIVEKIT_DOMAIN", "ACME_EMAIL", "REDIS_PASSWORD", "GRAFANA_PASSWORD")
"""What docker-compose.prod.yml wants besides Greenroom's own settings."""


class Platform(StrEnum):
    """Where it is to run."""

    COMPOSE = "compose"
    RAILWAY = "railway"
    KUBERNETES = "kubernetes"
    AWS = "aws"


def environment_on(platform: Platform, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that programs would see there: what is set, else what the platform's files and the image say."""
    given = {name: value for name, value in environ.items() if value}
    files = _of_compose(given) if platform is Platform.COMPOSE else {}
    return IMAGE_SETS | files | given


def _of_compose(given: Mapping[str, str]) -> dict[str, str]:
    """What the file makes of these; nothing of what is not there."""
    made = {}
    for name, value in COMPOSE_SETS.items():
        with suppress(KeyError):
            made[name] = value.format_map(given)
    return made
