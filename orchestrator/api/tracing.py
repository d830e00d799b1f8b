"""Requests as the beginnings of traces; nothing, unless ``OTEL_EXPORTER_OTLP_ENDPOINT`` is set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from contract import tracing
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.trace import Span

NOT_TRACED = ",".join((
    r"^\w+://[^/]*/(api/health|health|metrics|console|assets)(/|$)",
    r"^\w+://[^/]*/api/(session/[^/]+/)?events$",
))  # fmt: skip
"""Asked every few seconds by machines, or open for as long as a page is. OpenTelemetry looks for these in a whole URL,
made with the request's ``Host``: past that they begin, so that a site's name is no path."""


def trace_requests(app: FastAPI, settings: Settings) -> None:
    """Begin a trace with each request, or go on with the caller's own."""
    endpoint = settings.otel_exporter_otlp_endpoint
    provider = tracing.begin(endpoint, "api", roots=True, host=settings.host_id)
    if provider is None:
        return
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=provider,
        excluded_urls=NOT_TRACED,
        server_request_hook=_without_query,
        exclude_spans=["receive", "send"],
    )


def _without_query(span: Span, scope: dict[str, Any]) -> None:
    """What somebody put after a question mark by mistake may be a secret."""
    if span.is_recording():
        for name in ("http.url", "http.target", "url.full", "url.query"):
            span.set_attribute(name, str(scope.get("path", "")))
