"""The hosts, for the admin."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from orchestrator.api.dependencies import ADMIN, admin_only
from orchestrator.api.problems import documented
from orchestrator.api.schemas import HostsAnswer
from orchestrator.api.state import api_of, timely
from orchestrator.api.views import host_view
from orchestrator.domain.errors import ForbiddenError, UnauthorizedError

router = APIRouter(tags=["admin"], dependencies=[Depends(admin_only)])


@router.get(
    "/api/hosts",
    summary="The hosts",
    responses=documented(UnauthorizedError, ForbiddenError),
    openapi_extra=ADMIN,
)
async def list_hosts(request: Request) -> HostsAnswer:
    """All hosts known, with their capacity, memory, agents and the age of their last heartbeat."""
    views = await timely(api_of(request).container.hosts.hosts())
    return HostsAnswer(hosts=[host_view(view) for view in views])
