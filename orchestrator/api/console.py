"""What the console follows: everything as it happens, and the last hour."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request, Response

from orchestrator.adapters.redis_statistics import SAMPLE_EVERY_S
from orchestrator.api.dependencies import ADMIN, admin_only
from orchestrator.api.live import Live
from orchestrator.api.problems import documented
from orchestrator.api.schemas_console import HistoryAnswer
from orchestrator.api.state import api_of, timely
from orchestrator.api.streams import Events
from orchestrator.api.views import sample_view
from orchestrator.domain.errors import ForbiddenError, TooManyStreamsError, UnauthorizedError

router = APIRouter(tags=["admin"], dependencies=[Depends(admin_only)])

LOOK_S = 5.0
STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "`overview`: an `OverviewEvent`, at once, then where something changed, every two seconds at"
        " least and every second at most. `sample`: a new `PoolSample`, every five seconds. `sessions`: a"
        " `SessionsEvent`, which sessions changed, every second at most.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'event: sessions\ndata: {"ids":["prewarm_9f2c51e0"],"more":false}\n\n',
            }
        },
    }
}


@router.get(
    "/api/events",
    summary="Follow everything",
    response_class=Response,
    responses={**documented(UnauthorizedError, ForbiddenError, TooManyStreamsError), **STREAM},
    openapi_extra=ADMIN,
)
async def follow_everything(request: Request) -> Response:
    """Health, pool, hosts, queue, samples and changed sessions as server-sent events."""
    api = api_of(request)
    with api.streams.take_admin() as place:
        return api.streams.response(_events(api.live), place)


async def _events(live: Live) -> Events:
    with live.watch() as watcher:
        while True:
            yield await watcher.events(LOOK_S)


@router.get(
    "/api/pool/history",
    summary="The last hour",
    responses=documented(UnauthorizedError, ForbiddenError),
    openapi_extra=ADMIN,
)
async def pool_history(request: Request, seconds: Annotated[int, Query(ge=5, le=3600)] = 3600) -> HistoryAnswer:
    """Samples of the whole system, one for every five seconds, oldest first."""
    container = api_of(request).container
    samples = await timely(container.statistics.samples(-(-seconds // SAMPLE_EVERY_S)))
    now = await timely(container.store.now())  # samples have the store's time, from which this machine's may differ
    oldest = now - seconds - SAMPLE_EVERY_S  # a while without an API left none: what follows is older
    return HistoryAnswer(every_s=SAMPLE_EVERY_S, samples=[sample_view(s) for s in samples if s.at >= oldest])
