"""The platforms that ``greenroom doctor --deploy`` knows, and what their files set by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

IMAGE_SETS = {
    "BIND": "0.0.0.0",  # noqa: S104 - a container's own network
    "PORT": "8080",
    "GREENROOM_HOME": "/var/lib/greenroom",
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

COMPOSE_DEFAULTS = {
    "LIVEKIT_URL": "ws://livekit:7880",
    "DRAIN_TIMEOUT_S": "3600",
    "HOST_STOP_GRACE_S": "3720",
    "REDIS_MEMORY": "512mb",
    "REDIS_CONTAINER_MEMORY": "1g",
}
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

RAILWAY_SETS = {
    "REDIS_URL": "redis://redis.railway.internal:6379",  # a reference, which Railway resolves
    "BIND": "::",
    "PORT": "8080",
    "DRAIN_ON_TERM": "true",
}
"""What .railway/railway.py says, whatever else is set: that reaches no program."""

RAILWAY_DEFAULTS = {
    "MAX_BOTS": "50",
    "MAX_CALL_S": "3600",
    "DRAIN_TIMEOUT_S": "3600",
    "RAILWAY_DEPLOYMENT_DRAINING_SECONDS": "3720",
}
"""What it says as it comes. Whoever changes that there says so to doctor."""

RAILWAY_TAKES = frozenset({
    "LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", "ADMIN_TOKEN", "API_KEYS", "ALLOWED_ORIGINS",
    "START_LIMIT_IP", "PREWARM_POOL_SIZE", "LOG_FORMAT", "AGENT_ENV", "ASSEMBLY_API_KEY", "GROQ_API_KEY",
    "INWORLD_API_KEY", "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", *RAILWAY_DEFAULTS,
})  # fmt: skip
"""What else it hands on as it comes: of another variable no program hears."""

KUBERNETES_DEFAULTS = {
    "BIND": "::",
    "PORT": "8080",
    "MAX_BOTS": "50",
    "MAX_CALL_S": "3600",
    "DRAIN_ON_TERM": "true",
    "DRAIN_TIMEOUT_S": "3600",
    "TRUSTED_PROXIES": "10.0.0.0/8",
}
"""What deploy/kubernetes/base/settings.env says as it comes; who deploys writes into it."""

AWS_SETS = {
    "REDIS_URL": "rediss://:password@redis:6379/0",  # a secret, which the data stack makes
    "BIND": "0.0.0.0",  # noqa: S104 - as in the image
    "PORT": "8080",
    "TRUSTED_PROXIES": "10.0.0.0/16",  # the VPC
    "DRAIN_ON_TERM": "true",
}
"""What deploy/aws tells tasks itself."""

AWS_SECRETS = (
    "ADMIN_TOKEN", "API_KEYS", "ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY", "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
)  # fmt: skip
"""What its tasks take out of Secrets Manager, and do not start without: each has to be there, and some may be empty."""

AWS_SECRETS_OF_SOME = ("JWT_SECRET", "OTEL_EXPORTER_OTLP_HEADERS")
"""Those that they take where the context names them."""

AWS_DEFAULTS = {"MAX_BOTS": "200", "DRAIN_TIMEOUT_S": "{MAX_CALL_S}"}
"""What it tells them where the context says nothing else."""


class Platform(StrEnum):
    """Where it is to run."""

    COMPOSE = "compose"
    RAILWAY = "railway"
    KUBERNETES = "kubernetes"
    AWS = "aws"


@dataclass(frozen=True)
class Files:
    """What a platform's files make of the variables that somebody set."""

    sets: Mapping[str, str]
    """Whatever is set; a form may name other variables."""
    defaults: Mapping[str, str]
    """Where nothing is."""
    ignores: frozenset[str] = frozenset()
    """Not handed on."""
    takes: frozenset[str] | None = None
    """All that is handed on; None where everything else is."""

    def hands_on(self, name: str) -> bool:
        """Whether a program hears of this variable when somebody sets it."""
        return name not in self.sets.keys() | self.ignores and (self.takes is None or name in self.takes)


FILES = {
    Platform.COMPOSE: Files(COMPOSE_SETS, COMPOSE_DEFAULTS, COMPOSE_IGNORES),
    Platform.RAILWAY: Files(RAILWAY_SETS, RAILWAY_DEFAULTS, takes=RAILWAY_TAKES),
    Platform.KUBERNETES: Files({}, KUBERNETES_DEFAULTS),
    Platform.AWS: Files(AWS_SETS, AWS_DEFAULTS),
}


def environment_on(platform: Platform, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that programs would see there: of what is set, what gets there, else what the files say."""
    files = FILES[platform]
    given = {name: value for name, value in environ.items() if value and files.hands_on(name)}
    return IMAGE_SETS | dict(_filled(files.defaults, given)) | given | dict(_filled(files.sets, given))


def unheard_of(platform: Platform, environ: Mapping[str, str], settings: Iterable[str]) -> list[str]:
    """Which of these settings somebody set, and no program there hears of; none of those that the files set."""
    files = FILES[platform]
    if files.takes is None:
        return []
    return sorted(
        name for name in settings if environ.get(name) and name not in files.sets and not files.hands_on(name)
    )


def environment_in(container: Mapping[str, str]) -> dict[str, str]:
    """The variables that a program has there: what its container was given, else what the image says."""
    return IMAGE_SETS | {name: value for name, value in container.items() if value}


def _filled(forms: Mapping[str, str], given: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What is made of what is there; nothing of what is not."""
    for name, form in forms.items():
        with suppress(KeyError):
            yield name, form.format_map(given)
