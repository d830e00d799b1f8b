"""The names of environment variables that Greenroom's programs read: what files for platforms may set."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import AliasChoices
from pydantic_settings import BaseSettings

from agent.settings import AgentSettings
from orchestrator.settings import Settings

OF_COMMANDS = frozenset({"REDIS_PORT", "LIVEKIT_PORT", "GREENROOM_URL"})
"""Read by the ``greenroom`` command itself, and by none of the programs that it starts."""

OF_OPENTELEMETRY = frozenset({
    "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_RESOURCE_ATTRIBUTES", "OTEL_SERVICE_NAME",
})  # fmt: skip
"""Read by OpenTelemetry's own library."""


def known_variables() -> frozenset[str]:
    """Every name that a program of Greenroom reads; any other one in a platform's file has no effect."""
    return frozenset({*_names_of(Settings), *_names_of(AgentSettings)}) | OF_COMMANDS | OF_OPENTELEMETRY


def _names_of(settings: type[BaseSettings]) -> Iterator[str]:
    for name, field in settings.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [name]
        yield from (str(choice).upper() for choice in choices)
