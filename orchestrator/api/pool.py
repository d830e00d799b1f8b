"""The pool, for the admin."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from orchestrator.api import requests
from orchestrator.api.dependencies import ADMIN, admin_only
from orchestrator.api.problems import documented
from orchestrator.api.requests import ResizeBody
from orchestrator.api.schemas import PoolAnswer, ResizeAnswer
from orchestrator.api.state import api_of, timely
from orchestrator.api.validation import body_of
from orchestrator.api.views import pool_view
from orchestrator.domain.errors import BodyTooLargeError, ForbiddenError, UnauthorizedError

router = APIRouter(tags=["admin"], dependencies=[Depends(admin_only)])


@router.get(
    "/api/pool",
    summary="The pool",
    responses=documented(UnauthorizedError, ForbiddenError),
    openapi_extra=ADMIN,
)
async def get_pool(request: Request) -> PoolAnswer:
    """How many agents should wait and why, and how many do."""
    container = api_of(request).container
    counts = await timely(container.store.counts(container.settings.prewarm_pool_size))
    return PoolAnswer(**dict(pool_view(counts, container.settings.max_bots, container.demand)))


@router.post(
    "/api/pool/resize",
    summary="Resize the pool",
    responses=documented(UnauthorizedError, ForbiddenError, BodyTooLargeError),
    openapi_extra={**ADMIN, **requests.documented(ResizeBody)},
)
async def resize_pool(request: Request) -> ResizeAnswer:
    """Set how many agents wait at least, from 0 to ``MAX_BOTS``, and begin to move there. Arrivals may need more."""
    body = await body_of(request, ResizeBody)
    previous = await timely(api_of(request).container.pool.resize(body.size))
    return ResizeAnswer(size=body.size, previous=previous)
