"""The rollout, for the admin."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from orchestrator.api.dependencies import ADMIN, admin_only
from orchestrator.api.problems import documented
from orchestrator.api.schemas_console import RolloutAnswer, RolloutView
from orchestrator.api.state import api_of, timely
from orchestrator.domain.errors import ForbiddenError, UnauthorizedError
from orchestrator.records import RolloutRecord

router = APIRouter(tags=["admin"], dependencies=[Depends(admin_only)])


@router.post(
    "/api/rollout",
    status_code=202,
    summary="Roll out changed code or settings",
    responses=documented(UnauthorizedError, ForbiddenError),
    openapi_extra=ADMIN,
)
async def begin_rollout(request: Request) -> RolloutAnswer:
    """Have every host load the agent anew, then recycle the agents that wait, a few at a time; never one in a call.

    While one is under way no other begins, and this answers with that one.
    """
    record, began = await timely(api_of(request).container.rollout.begin())
    return RolloutAnswer(rollout=_view(record), began=began)


@router.get(
    "/api/rollout",
    summary="The rollout",
    responses=documented(UnauthorizedError, ForbiddenError),
    openapi_extra=ADMIN,
)
async def get_rollout(request: Request) -> RolloutAnswer:
    """The one that is under way, or the last one of a day; null when there was none."""
    record = await timely(api_of(request).container.rollout.current())
    return RolloutAnswer(rollout=_view(record) if record else None, began=False)


def _view(record: RolloutRecord) -> RolloutView:
    return RolloutView(
        id=record.rollout_id,
        state=record.state,
        detail=record.detail,
        recycled=record.recycled,
        started_at=record.started_at,
        ended_at=record.ended_at,
    )
