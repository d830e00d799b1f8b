"""The hosts, for the admin."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from contract.keys import HOST_ID_PATTERN
from orchestrator.api.dependencies import ADMIN, admin_only
from orchestrator.api.problems import documented
from orchestrator.api.schemas import HostsAnswer, OneHostAnswer
from orchestrator.api.state import api_of, timely
from orchestrator.api.views import host_view
from orchestrator.domain.errors import ForbiddenError, HostNotFoundError, UnauthorizedError

router = APIRouter(tags=["admin"], dependencies=[Depends(admin_only)])

HostId = Annotated[str, Path(alias="hostId", pattern=HOST_ID_PATTERN, description="As GET /api/hosts tells it.")]


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


@router.post(
    "/api/hosts/{hostId}/drain",
    summary="Drain a host",
    responses=documented(UnauthorizedError, ForbiddenError, HostNotFoundError),
    openapi_extra=ADMIN,
)
async def drain_host(request: Request, host: HostId) -> OneHostAnswer:
    """Take it out of service: agents that wait there are ended, its calls go on. ``drained`` says when all is over."""
    return OneHostAnswer(**dict(host_view(await timely(api_of(request).container.drain.drain(host)))))


@router.post(
    "/api/hosts/{hostId}/undrain",
    summary="Put a host back",
    responses=documented(UnauthorizedError, ForbiddenError, HostNotFoundError),
    openapi_extra=ADMIN,
)
async def undrain_host(request: Request, host: HostId) -> OneHostAnswer:
    """Have it take sessions again."""
    return OneHostAnswer(**dict(host_view(await timely(api_of(request).container.drain.undrain(host)))))
