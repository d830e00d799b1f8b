"""What is decided by whoever deploys: read from the CDK context (``cdk.json`` or ``-c name=value``)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import urlsplit

from pydantic import ValidationError

from agent.settings import AgentSettings
from contract.masking import SECRET_NAME
from contract.tracing import ENDPOINT as TRACES
from orchestrator.settings import SECRETS, Elsewhere, Settings, SettingsError, read_elsewhere

CPU_UNITS = {1: (2, 8), 2: (4, 16), 4: (8, 30), 8: (16, 60), 16: (32, 120)}
"""Fargate's sizes: processors, and the least and the most GiB of memory that go with them."""

REQUIRED = ("certificateArn", "secretLiveKit", "secretCallers", "secretProviders", "livekitUrl")

SECRET_ANYWAY = frozenset({"REDIS_URL"})
"""A secret whose name does not say so."""

KNOWN = frozenset(name.upper() for kind in (Settings, AgentSettings) for name in kind.model_fields)
"""What Greenroom's own programs read."""

OF_LIBRARIES = ("OTEL_*", "PYTHON*", "SSL_*", "*_PROXY", "LANG", "LC_*", "TZ")
"""What is read below them."""

STAND_IN = "https://stands-in.example.com/for-a-secret"
"""For what is in Secrets Manager: an address where one is wanted, and long enough."""

TRACES_PORTS = {"http": 80, "https": 443}


class ConfigError(ValueError):
    """The context lacks something, or has it wrong; the message names it."""


@dataclass(frozen=True)
class Config:
    """One Greenroom on AWS."""

    certificate_arn: str
    """ACM's certificate for the name under which the API is reached."""
    secret_live_kit: str
    """ARN of the secret with LIVEKIT_API_KEY and LIVEKIT_API_SECRET."""
    secret_callers: str
    """ARN of the secret with ADMIN_TOKEN and API_KEYS."""
    secret_providers: str
    """ARN of the secret with the providers' keys."""
    livekit_url: str
    callers_secrets: tuple[str, ...] = ()
    """What else the API reads from ``secret_callers``, such as JWT_SECRET."""
    providers_secrets: tuple[str, ...] = ()
    """What else hosts read from ``secret_providers`` and give to their agents, such as OPENAI_API_KEY."""
    repository: str = "greenroom-orchestrator"
    """The ECR repository of the image."""
    image_tag: str = "latest"
    settings: dict[str, str] = field(default_factory=dict)
    """More of Greenroom's settings, for every program; no secrets."""
    traces_endpoint: str = ""
    """The collector of traces, such as http://collector.internal:4318; none: no traces."""
    max_bots: int = 200
    prewarm_pool_size: int = 10
    api_tasks: int = 2
    voice_cpus: int = 4
    voice_memory_gib: int = 8
    voice_tasks_least: int = 2
    voice_tasks_most: int = 8
    busy_percent: int = 60
    """Calls over capacity, in percent, that the number of voice tasks is steered to."""
    redis_node: str = "cache.t4g.small"
    redis_snapshot: str = ""
    """Made anew from this snapshot when it is set or changed."""
    log_days: int = 30
    alarm_email: str = ""
    """Who is told of alarms; nobody when empty."""

    @classmethod
    def of(cls, context: Callable[[str], Any]) -> Config:
        """Read the context.

        Raises:
            ConfigError: something is missing or wrong.
        """
        if missing := [name for name in REQUIRED if not context(name)]:
            raise ConfigError(f"missing in the context: {', '.join(missing)}; see docs/deploy/aws.md")
        given = {each.name: context(_camel(each.name)) for each in fields(cls)}
        config = cls(**{name: _typed(name, value) for name, value in given.items() if value is not None})
        config.check()
        return config

    def check(self) -> None:
        """See that the figures go together.

        Raises:
            ConfigError: they do not.
        """
        if self.voice_cpus not in CPU_UNITS:
            raise ConfigError(f"voiceCpus should be one of {', '.join(map(str, CPU_UNITS))}, not {self.voice_cpus}")
        least, most = CPU_UNITS[self.voice_cpus]
        if not least <= self.voice_memory_gib <= most:
            raise ConfigError(f"voiceMemoryGib should be {least} to {most} with {self.voice_cpus} processors")
        if not 1 <= self.voice_tasks_least <= self.voice_tasks_most:
            raise ConfigError("voiceTasksLeast should be at least 1, and at most voiceTasksMost")
        if self.traces_endpoint and self.traces_port is None:
            raise ConfigError("tracesEndpoint should be an address such as http://collector.internal:4318")
        if ours := SECRETS.intersection(self.providers_secrets):
            raise ConfigError(f"providersSecrets: {', '.join(sorted(ours))} is for no agent")
        self._check_settings()

    def _check_settings(self) -> None:
        """See that the programs would start with what they are told."""
        of_jwt = [name for name in self.callers_secrets if name.startswith("JWT_")]
        secrets = dict.fromkeys(["LIVEKIT_API_KEY", "LIVEKIT_API_SECRET", *of_jwt], STAND_IN)
        try:
            read_elsewhere(secrets | self.environment)
            _AgentSettings(**{name.lower(): value for name, value in self.settings.items() if value})
        except SettingsError as error:
            raise ConfigError(f"settings: {error}") from None
        except ValidationError as error:
            names = ", ".join(str(each["loc"][0]).upper() for each in error.errors())
            raise ConfigError(f"settings: {names} should be as in .env.example") from None

    @property
    def environment(self) -> dict[str, str]:
        """What every program is told; no secrets."""
        return {
            "LIVEKIT_URL": self.livekit_url,
            "MAX_BOTS": str(self.max_bots),
            "PREWARM_POOL_SIZE": str(self.prewarm_pool_size),
            "LOG_FORMAT": "json",  # metrics are made of the log
            **_drain(self.settings),
            **self.settings,
        }

    @property
    def traces_port(self) -> int | None:
        """The port of ``traces_endpoint``; None where that is no address."""
        with suppress(ValueError):
            parts = urlsplit(self.traces_endpoint)
            if parts.hostname and parts.scheme in TRACES_PORTS:
                return parts.port or TRACES_PORTS[parts.scheme]
        return None


class _AgentSettings(Elsewhere, AgentSettings):
    """What agents would read."""


def _drain(settings: Mapping[str, str]) -> dict[str, str]:
    """An operator's drain lets the longest call end, where nothing else is said."""
    return {"DRAIN_TIMEOUT_S": settings["MAX_CALL_S"]} if "MAX_CALL_S" in settings else {}


def context_names() -> frozenset[str]:
    """What may be said in the context."""
    return frozenset(_camel(each.name) for each in fields(Config))


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


def _typed(name: str, value: Any) -> Any:
    """What ``-c`` gives is text."""
    wanted = {each.name: each.type for each in fields(Config)}[name]
    try:
        if wanted == "int":
            return int(value)
        if wanted.startswith("dict") and isinstance(value, str):
            value = json.loads(value)
    except ValueError:
        raise ConfigError(
            f"{_camel(name)} should be {'a number' if wanted == 'int' else 'JSON'}, not {value!r}"
        ) from None
    if wanted.startswith("dict"):
        return _settings(value)
    if wanted.startswith("tuple"):
        return _names(_camel(name), value.split(",") if isinstance(value, str) else value)
    return str(value)


def _names(where: str, names: Iterable[str]) -> tuple[str, ...]:
    for name in names:
        if not re.fullmatch(r"[A-Z][A-Z0-9_]*", name):
            raise ConfigError(f"{where}: {name} should be a setting's name in capitals")
    return tuple(names)


def _settings(value: dict[str, Any]) -> dict[str, str]:
    names = _names("settings", value)
    if secret := [name for name in names if SECRET_NAME.search(name) or name in SECRET_ANYWAY]:
        raise ConfigError(
            f"settings: {', '.join(secret)} is a secret, and would stand in the task definitions: it belongs into"
            " secretLiveKit, secretCallers or secretProviders and, when it is not always read from there, its name into"
            " callersSecrets (for the API) or providersSecrets (for agents); see docs/deploy/aws.md"
        )
    if TRACES in names:
        raise ConfigError(f"settings: {TRACES} is tracesEndpoint in the context, which opens the collector's port, too")
    settings = {name: str(each) for name, each in value.items()}
    if unread := [name for name in names if not _is_read(name, settings)]:
        raise ConfigError(
            f"settings: {', '.join(unread)} is no setting of Greenroom's (see .env.example), and no agent is given it"
            " by AGENT_ENV"
        )
    return settings


def _is_read(name: str, settings: Mapping[str, str]) -> bool:
    given_to_agents = [each.strip() for each in settings.get("AGENT_ENV", "").split(",")]
    return any(fnmatchcase(name, each) for each in (*KNOWN, *OF_LIBRARIES, *given_to_agents))
