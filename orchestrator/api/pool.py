"""The pool, for the admin."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from orchestrator.api import requests
from orchestrator.api.dependencies import ADMIN, admin_only
from orchestrator.api.problems import documented
from orchestrator.api.requests import ResizeBody
from orchestrator.api.schemas import PoolAnswer, ResizeAnswer
from orchestrator.api.state import api_of, timely
from orchestrator.api.validation import FieldError, InvalidFieldsError, body_of
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
    """How many agents should wait and why, and how many do: of all kinds together, and of each."""
    container = api_of(request).container
    kinds = container.settings.kinds
    counts = await timely(container.store.counts(kinds.default_floor, kinds.floors))
    return PoolAnswer(**dict(pool_view(counts, container.limits, container.demand)))


@router.post(
    "/api/pool/resize",
    summary="Resize the pool",
    responses=documented(UnauthorizedError, ForbiddenError, BodyTooLargeError),
    openapi_extra={**ADMIN, **requests.documented(ResizeBody)},
)
async def resize_pool(request: Request) -> ResizeAnswer:
    """Set how many agents of a kind wait at least, and begin to move there. Arrivals may need more.

    With the floors of the other kinds it may be ``MAX_BOTS`` at most.
    """
    body = await body_of(request, ResizeBody)
    container = api_of(request).container
    if body.agent not in container.settings.kinds.by_name:
        raise InvalidFieldsError([FieldError("agent", f"should be {requests.KIND_WORDS}")])
    previous = await timely(container.pool.resize(body.size, body.agent))
    return ResizeAnswer(size=body.size, previous=previous, agent=body.agent)
