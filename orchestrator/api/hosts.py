"""The hosts, for the admin."""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request

from orchestrator.api.dependencies import ADMIN, admin_only
from orchestrator.api.problems import documented
from orchestrator.api.schemas import HostAnswer, HostsAnswer
from orchestrator.api.state import api_of, timely
from orchestrator.domain.errors import ForbiddenError, UnauthorizedError
from orchestrator.ports import HostView

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
    return HostsAnswer(hosts=[_host(view) for view in views])


def _host(view: HostView) -> HostAnswer:
    def number(name: str) -> int:
        return int(view.fields.get(name) or 0)

    started_at = view.fields.get("started_at")
    return HostAnswer(
        host=view.host,
        alive=view.alive,
        draining=view.draining,
        heartbeat_age_s=view.heartbeat_age_s,
        started_at=float(started_at) if started_at else None,
        agents=number("agents"),
        warm=number("warm"),
        capacity=number("capacity"),
        memory_total_bytes=number("memory_total_bytes"),
        memory_available_bytes=number("memory_available_bytes"),
        agent_private_bytes=number("agent_private_bytes"),
        zygote=view.fields.get("zygote", ""),
        version=view.fields.get("version", ""),
    )
