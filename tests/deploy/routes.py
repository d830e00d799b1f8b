"""What the API serves: its routes, and the pages that it is built with."""

from __future__ import annotations

import functools

from fastapi import APIRouter
from fastapi.routing import APIRoute

from orchestrator.api.app import ROUTERS
from tests.support.stack import TOP

FRONTEND = TOP / "frontend"


@functools.cache
def routes() -> frozenset[str]:
    """The paths of all routes, as templates."""
    return frozenset(route.path for module in ROUTERS for route in _of(module.router))


def _of(router: APIRouter) -> list[APIRoute]:
    return [route for route in router.routes if isinstance(route, APIRoute)]


def is_page(path: str) -> bool:
    """Whether the frontend's build has it: a page, a file of ``public``, or the script for others' pages."""
    name = path.removeprefix("/") or "index"
    scripts = (FRONTEND / "scripts" / "build-embed.mjs").read_text()
    return (FRONTEND / f"{name}.html").is_file() or (FRONTEND / "public" / name).is_file() or f'"{name}"' in scripts
