"""The API program: ``uvicorn --factory orchestrator.api.app:create_app``."""

from __future__ import annotations

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from contract import tracing
from contract.prctl import hide
from orchestrator.api import (
    console,
    docs,
    health,
    hosts,
    life,
    openapi,
    pool,
    problems,
    rollout,
    session_events,
    sessions,
    start,
    tokens,
    webhook,
)
from orchestrator.api.background import Background, ended
from orchestrator.api.limits import StartLimits
from orchestrator.api.live import Live
from orchestrator.api.metrics import Metrics
from orchestrator.api.middleware import Guard, RequestContext
from orchestrator.api.pages import Pages
from orchestrator.api.sampler import Sampler, StartLog
from orchestrator.api.security import Security
from orchestrator.api.state import Api
from orchestrator.api.stopping import on_stop
from orchestrator.api.streams import Streams
from orchestrator.api.tracing import trace_requests
from orchestrator.bootstrap import Container, build
from orchestrator.logs import set_up_logging
from orchestrator.settings import SettingsError, current_settings

ROUTERS = (start, sessions, session_events, life, tokens, pool, hosts, rollout, console, health, webhook, docs)
DESCRIPTION = "Voice agents that are started and waiting. Errors are problems (RFC 9457) with a stable `code`."


def create_app(container: Container | None = None, metrics: Metrics | None = None) -> FastAPI:
    """The app; everything is built from the environment unless ``container`` is given.

    ``metrics`` are given by a server that has something to count itself.

    Raises:
        SystemExit: a setting is wrong, with a line that names it and says what it should be.
    """
    container = container or _from_environment()
    app = FastAPI(
        title="Greenroom",
        version=metadata.version("greenroom"),
        description=DESCRIPTION,
        lifespan=_lifespan,
        redirect_slashes=False,
        docs_url=None,  # FastAPI's own page loads scripts from elsewhere
        redoc_url=None,
    )
    streams, metrics = Streams(), metrics or Metrics()
    metrics.watch_streams(lambda: len(streams))
    api = Api(
        container=container,
        security=Security(container.settings),
        metrics=metrics,
        background=Background(),
        streams=streams,
        live=Live(container),
        starts=StartLog(),
        limits=StartLimits(container.settings),
    )
    app.state.api = api
    for module in ROUTERS:
        app.include_router(module.router)
    problems.install(app)
    openapi.install(app)
    _wrap(app, api)
    trace_requests(app, container.settings)
    return app


def _wrap(app: FastAPI, api: Api) -> None:
    """The middlewares; the one added last is the outermost."""
    settings = api.container.settings
    app.add_middleware(Pages, folder=settings.frontend, livekit_url=settings.public_livekit_url)
    app.add_middleware(Guard)
    origins = settings.allowed_origins
    if origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key", "X-API-Key", "X-Request-Id"],
            expose_headers=["X-Request-Id", "Retry-After", "RateLimit", "RateLimit-Policy"],
            max_age=600,
        )
    app.add_middleware(RequestContext, metrics=api.metrics)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    api: Api = app.state.api
    container = api.container
    kinds = container.settings.kinds
    taking = Sampler(container.statistics, api.starts, default_target=kinds.default_floor, more=kinds.floors)
    sampler = asyncio.create_task(taking.run())
    try:
        with on_stop(api.streams.close):
            yield
    finally:
        await ended(sampler)
        await api.live.aclose()
        await api.background.aclose()
        await container.aclose()
        tracing.end()


def _from_environment() -> Container:
    hide()  # from agents, which run others' code
    try:
        settings = current_settings()
    except SettingsError as error:
        sys.exit(f"greenroom: {error}")
    set_up_logging(settings, "api")
    for name in ("uvicorn", "uvicorn.error"):  # its lines go where all others go
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    container = build(settings)
    _warm_up(container)
    return container


def _warm_up(container: Container) -> None:
    """Pay before the first request for what it would otherwise wait for, and for what every collection would cost.

    LiveKit's and Celery's modules take most of a second to import. They stay for ever, so the garbage collector
    needs not look at their half a million objects again and again.
    """
    container.tokens  # noqa: B018 - built when first asked for
    container.webhooks  # noqa: B018
    gc.collect()
    gc.freeze()
