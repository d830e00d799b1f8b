"""Traces by OpenTelemetry, for every program alike. Off, nothing of it is imported, and each call returns at once.

``begin`` is called in the process that is to send them: its exporter has a thread, which no fork may copy.
A trace begins with a caller's request. Other programs go on with one that they were handed, and begin none: beat's
clockwork would bury the requests.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider

Traceparent = Annotated[str, Field(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")]
"""A place in a trace, as W3C Trace Context writes it."""

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
EXPORT_TIMEOUT_S = 2
"""A collector that hangs holds up nothing but the thread that sends."""
EXPORT_EVERY_MS = 1_000
NANOSECONDS = 1_000_000_000


class _State:
    provider: TracerProvider | None = None


def begin(endpoint: str | None, program: str, *, roots: bool = False, **resource: str) -> TracerProvider | None:
    """Send this process's spans from now on; nothing without an endpoint.

    Args:
        endpoint: the collector's address, to which ``/v1/traces`` is added.
        program: becomes the service's name, ``greenroom-<program>``.
        roots: whether this program may begin a trace.
        resource: more that is said of the process, such as ``host``.
    """
    if not endpoint or _State.provider is not None:
        return _State.provider
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased

    provider = TracerProvider(
        sampler=ParentBased(ALWAYS_ON if roots else ALWAYS_OFF),
        resource=Resource.create({"service.name": f"greenroom-{program}", **resource}),
        shutdown_on_exit=False,
    )
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_TIMEOUT_S)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=EXPORT_EVERY_MS))
    _State.provider = provider
    return provider


def end() -> None:
    """Send what is left, which takes ``EXPORT_TIMEOUT_S`` at most; then there are no traces any more."""
    provider, _State.provider = _State.provider, None
    if provider is not None:
        provider.shutdown()


def is_on() -> bool:
    """Whether this process sends traces."""
    return _State.provider is not None


def carried() -> str | None:
    """Where this code is in a trace, for whoever goes on with it; None when it is in none."""
    if _State.provider is None:
        return None
    from opentelemetry import trace

    here = trace.get_current_span().get_span_context()
    if not here.is_valid:
        return None
    return f"00-{here.trace_id:032x}-{here.span_id:016x}-{here.trace_flags:02x}"


def trace_id(carried_from: str | None = None) -> str | None:
    """The id of the trace that this code (or what was carried from elsewhere) is in."""
    traceparent = carried_from or carried()
    return traceparent and traceparent.split("-")[1]


@contextmanager
def span(name: str, parent: str | None = None, **attributes: Any) -> Iterator[None]:
    """A part of a trace that lasts as long as the block.

    ``parent`` was carried here; without it, the span is part of what this code is in.
    """
    if _State.provider is None:
        yield
        return
    context = _context(parent) if parent else None
    tracer = _State.provider.get_tracer("greenroom")
    with tracer.start_as_current_span(name, context=context, attributes=_known(attributes)):
        yield


def record(name: str, parent: str | None, began_at: float, ended_at: float, **attributes: Any) -> None:
    """A part of a trace that is over; times are Unix seconds."""
    if _State.provider is None or not parent:
        return
    tracer = _State.provider.get_tracer("greenroom")
    made = tracer.start_span(
        name, context=_context(parent), start_time=int(began_at * NANOSECONDS), attributes=_known(attributes)
    )
    made.end(int(max(began_at, ended_at) * NANOSECONDS))


def _context(traceparent: str) -> Context:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    return TraceContextTextMapPropagator().extract({"traceparent": traceparent})


def _known(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
