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
    "LIVEKIT_PUBLIC_URL": "wss://{LIVEKIT_DOMAIN}",
    "GREENROOM_HOME": "/var/lib/greenroom",
    "PORT": "8080",
    "TRUSTED_PROXIES": "10.97.0.2",
    "DRAIN_ON_TERM": "true",
}
"""What docker-compose.prod.yml says itself, whatever .env has for these."""

COMPOSE_DEFAULTS = {"LIVEKIT_URL": "ws://livekit:7880", "DRAIN_TIMEOUT_S": "3600", "HOST_STOP_GRACE_S": "3720"}
"""What it says where .env says nothing."""

COMPOSE_IGNORES = frozenset({
    "BIND",  # the image's: every address of the container
    "FRONTEND_DIR", "ZYGOTE_MODULE",  # parts of the image
    "HOST_ID", "RAILWAY_REPLICA_ID",  # each container has a name of its own
    "AGENT_USER",  # wants a host that is root
    "ECS_AGENT_URI",  # Amazon's
})  # fmt: skip
"""Settings that it does not hand on: in .env they have no effect."""

COMPOSE_WANTS = ("DOMAIN", "LIVEKIT_DOMAIN", "ACME_EMAIL", "REDIS_PASSWORD", "GRAFANA_PASSWORD")
"""What docker-compose.prod.yml wants besides Greenroom's own settings."""


class Platform(StrEnum):
    """Where it is to run."""

    COMPOSE = "compose"
    RAILWAY = "railway"
    KUBERNETES = "kubernetes"
    AWS = "aws"


def environment_on(platform: Platform, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that programs would see there: of what is set, what gets there, else what the files say."""
    given = {name: value for name, value in environ.items() if value}
    return IMAGE_SETS | (_of_compose(given) if platform is Platform.COMPOSE else given)


def _of_compose(given: Mapping[str, str]) -> dict[str, str]:
    """What the file hands on of these, and makes of them; nothing of what is not there."""
    made = COMPOSE_DEFAULTS | {
        name: value for name, value in given.items() if name not in COMPOSE_SETS.keys() | COMPOSE_IGNORES
    }
    for name, value in COMPOSE_SETS.items():
        with suppress(KeyError):
            made[name] = value.format_map(given)
    return made
