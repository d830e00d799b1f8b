"""Errors as RFC 9457 problems: each has ``success: false`` and a stable ``code``, and nothing internal."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from orchestrator.api.limits import quota_headers
from orchestrator.api.validation import FieldError, InvalidFieldsError, explain
from orchestrator.domain.errors import (
    BodyTooLargeError,
    GreenroomError,
    HeadTooLargeError,
    InvalidRequestError,
    RequestTimeoutError,
    StoreUnavailableError,
    UnauthorizedError,
)
from orchestrator.domain.limits import RateLimitedError

MEDIA_TYPE = "application/problem+json"
HTTP_CODES = {404: "not_found", 405: "method_not_allowed"}


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: list[FieldError] | None = None,
) -> Response:
    """One problem as an answer."""
    content: dict[str, Any] = {
        "type": f"urn:greenroom:problem:{code}",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "success": False,
        "code": code,
    }
    if errors:
        content["errors"] = [{"field": error.field, "message": error.message} for error in errors]
    return Response(json.dumps(content), status, headers=dict(headers or {}), media_type=MEDIA_TYPE)


def problem_of(error: GreenroomError) -> Response:
    """The problem that a Greenroom error is to its caller."""
    headers: dict[str, str] = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, UnauthorizedError):
        headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, BodyTooLargeError | HeadTooLargeError | RequestTimeoutError):
        headers["Connection"] = "close"  # the rest is not read
    if isinstance(error, RateLimitedError):
        headers |= quota_headers(error.quotas)
    errors = error.errors if isinstance(error, InvalidFieldsError) else None
    return problem(error.status, error.code, error.detail, headers=headers, errors=errors)


def internal_error() -> Response:
    """What a caller hears of a mistake of ours."""
    detail = "Something went wrong on our side; it was logged under this answer's X-Request-Id."
    return problem(500, "internal_error", detail)


def install(app: FastAPI) -> None:
    """Have ``app`` answer every error as a problem."""
    app.add_exception_handler(GreenroomError, _greenroom)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(HTTPException, _http)


async def _greenroom(_request: Request, error: Exception) -> Response:
    assert isinstance(error, GreenroomError)  # noqa: S101 - registered for it
    structlog.contextvars.bind_contextvars(problem=error.code)
    return problem_of(error)


async def _validation(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101
    return problem_of(explain(error.errors()))


async def _http(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101
    code = HTTP_CODES.get(error.status_code, "invalid_request" if error.status_code < 500 else "internal_error")
    details = {
        404: "There is nothing at this address; /docs lists what there is.",
        405: "This address does not take this method; the Allow header lists those it takes.",
    }
    detail = details.get(error.status_code, str(error.detail))
    return problem(error.status_code, code, detail, headers=error.headers)


ALWAYS: tuple[type[GreenroomError], ...] = (
    InvalidRequestError,
    RequestTimeoutError,
    StoreUnavailableError,
    GreenroomError,
)


def documented(
    *kinds: type[GreenroomError], always: Sequence[type[GreenroomError]] = ALWAYS
) -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of a route that may raise these, for the OpenAPI document."""
    by_status: dict[int | str, dict[str, Any]] = {}
    for kind in [*kinds, *always]:
        entry = by_status.setdefault(kind.status, {"description": "", "content": {MEDIA_TYPE: {
            "schema": {"$ref": "#/components/schemas/Problem"}, "examples": {}}}})  # fmt: skip
        error = kind()
        example = json.loads(bytes(problem_of(error).body))
        entry["content"][MEDIA_TYPE]["examples"][error.code] = {"summary": error.detail, "value": example}
        entry["description"] = " · ".join(entry["content"][MEDIA_TYPE]["examples"])
        if error.retry_after_s is not None:
            entry["headers"] = {"Retry-After": {"description": "Seconds.", "schema": {"type": "integer"}}}
    return by_status
