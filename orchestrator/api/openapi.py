"""The OpenAPI document: what FastAPI generates, with the parts that it cannot know."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from orchestrator.api.requests import ResizeBody, StartBody, TimelineBody, TokenBody
from orchestrator.api.schemas import Problem
from orchestrator.api.schemas_console import OverviewEvent, SessionsEvent

SECURITY_SCHEMES = {
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "One of API_KEYS."},
    "bearer": {"type": "http", "scheme": "bearer", "description": "One of API_KEYS, or a JWT."},
    "adminToken": {"type": "http", "scheme": "bearer", "description": "ADMIN_TOKEN."},
    "livekitSignature": {
        "type": "apiKey",
        "in": "header",
        "name": "Authorization",
        "description": "A JWT of LiveKit's, signed with LIVEKIT_API_SECRET, that has the body's SHA-256.",
    },
}

UNSEEN: list[tuple[type[BaseModel], Literal["validation", "serialization"]]] = [
    (Problem, "serialization"),
    (StartBody, "validation"),
    (TokenBody, "validation"),
    (ResizeBody, "validation"),
    (TimelineBody, "validation"),
    (OverviewEvent, "serialization"),
    (SessionsEvent, "serialization"),
]
"""Models that routes read or write by hand."""


def install(app: FastAPI) -> None:
    """Have ``app`` describe itself completely."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _document(app)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]


def _document(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    _, unseen = models_json_schema(UNSEEN, ref_template="#/components/schemas/{model}")
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(unseen["$defs"])
    components["securitySchemes"] = SECURITY_SCHEMES
    return document
