"""The programs' lines: one JSON object each (or coloured text), all of one schema, without a secret.

``timestamp`` (ISO 8601, UTC), ``level``, ``logger``, ``event`` (static words), ``program``, ``host``; ``session_id``
and ``trace_id`` where they are known; then the event's own fields, and ``exception``.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, MutableMapping
from typing import Any

import structlog
from pydantic import SecretStr

from contract import tracing
from contract.masking import Mask, secrets_in
from orchestrator.redis_address import passwords_in
from orchestrator.settings import Settings

Event = MutableMapping[str, Any]


class NamedLogger(structlog.WriteLogger):
    """Writes each line at once, its end included: another program's may come in between two writes. Knows its name."""

    def __init__(self, name: str = "greenroom") -> None:
        super().__init__()
        self.name = name


def set_up_logging(settings: Settings, program: str) -> None:
    """Have this process's lines, and those of the libraries that it uses, written so."""
    shared: list[Callable[..., Any]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_logger_name,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_trace,
    ]
    as_json = settings.log_format == "json"
    # Not rich's tracebacks: they show every variable's value, tokens and keys as well.
    to_console = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    render = structlog.processors.JSONRenderer() if as_json else to_console
    last: list[Callable[..., Any]] = [structlog.processors.format_exc_info, render, _masking(settings)]
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    structlog.configure(
        processors=[*shared, *last],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=NamedLogger,
        cache_logger_on_first_use=True,
    )
    structlog.contextvars.bind_contextvars(program=program, host=settings.host_id)
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _add_program(program, settings.host_id)],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)


def _add_trace(_: object, __: str, event: Event) -> Event:
    if found := tracing.trace_id():
        event["trace_id"] = found
    return event


def _add_program(program: str, host: str) -> Callable[[object, str, Event], Event]:
    """Of lines from threads that libraries began, which have no context."""

    def add(_: object, __: str, event: Event) -> Event:
        event.setdefault("program", program)
        event.setdefault("host", host)
        return event

    return add


def _masking(settings: Settings) -> Callable[[object, str, str], str]:
    mask = Mask(known_secrets(settings))
    return lambda _, __, line: mask(line)


def known_secrets(settings: Settings) -> list[str]:
    """Those of the settings and of this process's environment."""
    own = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    return [*own, *settings.api_keys, *secrets_in(os.environ), *passwords_in(settings.redis_url)]
