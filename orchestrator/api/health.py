"""Health, liveness, readiness and metrics: for load balancers, operators and Prometheus."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from orchestrator.api.dependencies import MAYBE_ADMIN
from orchestrator.api.schemas import HealthAnswer, LivenessAnswer, ReadinessAnswer
from orchestrator.api.state import api_of
from orchestrator.api.store_metrics import store_text
from orchestrator.api.views import capacity_view, parts_view, sessions_view, totals_view
from orchestrator.services.health import Report, in_words

router = APIRouter(tags=["health"])

UNHEALTHY: dict[int | str, dict[str, Any]] = {503: {"model": HealthAnswer, "description": "A part is down"}}
NOT_READY: dict[int | str, dict[str, Any]] = {503: {"model": ReadinessAnswer, "description": "A part is down"}}


@router.head("/api/health", include_in_schema=False)
@router.get("/api/health", summary="How everything is", responses=UNHEALTHY, openapi_extra=MAYBE_ADMIN)
async def get_health(request: Request, response: Response) -> HealthAnswer:
    """The parts, the living sessions, the totals and the capacity.

    With the admin token the reasons are whole; without it hosts are not named and nothing is quoted.
    """
    container = api_of(request).container
    report = await _report(request)
    response.status_code = 200 if report.ready else 503
    counts = report.counts
    return HealthAnswer(
        success=report.ready,
        status=report.status,
        reason=report.reason,
        parts=parts_view(report.parts),
        sessions=counts and sessions_view(counts),
        stats=counts and totals_view(counts),
        capacity=counts and capacity_view(counts, container.settings.max_bots),
    )


@router.head("/health/live", include_in_schema=False)
@router.get("/health/live", summary="Whether this process answers")
async def get_liveness() -> LivenessAnswer:
    """Nothing outside this process is asked."""
    return LivenessAnswer()


@router.head("/health/ready", include_in_schema=False)
@router.get("/health/ready", summary="Whether starts can be served", responses=NOT_READY, openapi_extra=MAYBE_ADMIN)
async def get_readiness(request: Request, response: Response) -> ReadinessAnswer:
    """Redis, LiveKit, one live host, and a beat that is not late. Reasons as in `GET /api/health`."""
    report = await _report(request)
    response.status_code = 200 if report.ready else 503
    return ReadinessAnswer(
        success=report.ready,
        status="ready" if report.ready else "not ready",
        reason=in_words(report.vital),
        parts=parts_view(report.vital),
    )


async def _report(request: Request) -> Report:
    """All parts, in the words that are for whoever asks."""
    api = api_of(request)
    report = await api.container.health.report()
    return report if api.security.is_admin(request.headers) else report.for_anybody


@router.head("/metrics", include_in_schema=False)
@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def get_metrics(request: Request) -> Response:
    """What this process measured, and what the store knows; 200 also while Redis is away."""
    api = api_of(request)
    text = api.metrics.text() + await store_text(api.container)
    return Response(text, media_type=CONTENT_TYPE_LATEST)
