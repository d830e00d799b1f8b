"""What goes around every request, as plain ASGI: ids, the access log, headers, the body's limit, mistakes of ours."""

from __future__ import annotations

import re
import secrets
from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.api.metrics import Metrics
from orchestrator.api.problems import internal_error, problem_of
from orchestrator.domain.errors import BodyTooLargeError

log = structlog.get_logger("greenroom.api")

MAX_BODY_BYTES = 16 * 1024
MAX_WEBHOOK_BYTES = 64 * 1024
WEBHOOK_PATH = "/api/livekit/webhook"

REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
QUIET_ROUTES = frozenset({"/health/live", "/health/ready", "/api/health", "/metrics"})
"""Asked every few seconds by machines: not in the log unless they fail."""

CLIENT_GONE = 499
"""As nginx says it, in the log and the metrics: who asked was gone before the answer. It is no error of ours."""

SECURITY_HEADERS = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
]
"""Of every answer that does not say otherwise itself."""


class RequestContext:
    """Outermost: gives the request its id, and says how it was answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        request_id = _request_id(scope)
        own_headers = [*SECURITY_HEADERS, (b"x-request-id", request_id.encode())]
        status: int | None = None

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given = list(message.get("headers", ()))
                names = {name for name, _ in given}
                message["headers"] = given + [header for header in own_headers if header[0] not in names]
            await send(message)

        structlog.contextvars.bind_contextvars(request_id=request_id)
        try:
            await self._app(scope, receive, send_with_headers)
            status = status or CLIENT_GONE
        finally:
            self._answered(scope, status or 500, perf_counter() - began)
            structlog.contextvars.unbind_contextvars("request_id", "session_id", "problem")

    def _answered(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        self._metrics.answered(scope["method"], route, status)
        if status == CLIENT_GONE or (route in QUIET_ROUTES and status < 500):
            return  # of a flood that goes away there would be a line for each
        log.info("request", method=scope["method"], route=route, status=status, duration_ms=round(seconds * 1000, 2))


class Guard:
    """Innermost: refuses a body that is too large, and answers for what nobody else caught."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """See ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = MAX_WEBHOOK_BYTES if scope["path"] == WEBHOOK_PATH else MAX_BODY_BYTES
        declared = _content_length(scope)
        if declared is not None and declared > limit:
            await problem_of(_too_large(limit))(scope, receive, send)
            return
        limited = receive if declared is not None else _limited(receive, limit)
        begun = False

        async def watched_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, limited, watched_send)
        except ClientDisconnect:
            return  # in the middle of its body: there is nobody to answer
        except Exception:
            log.exception("unexpected error")
            if begun:
                raise  # half an answer: the server closes the connection
            await internal_error()(scope, receive, send)


def _request_id(scope: Scope) -> str:
    """The caller's own, if it is one that may stand in a log; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id" and REQUEST_ID.fullmatch(value):
            return str(value, "ascii")
    return secrets.token_hex(8)


def _content_length(scope: Scope) -> int | None:
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return None


def _limited(receive: Receive, limit: int) -> Receive:
    """Counts what comes in pieces, without a declared length.

    Raises:
        BodyTooLargeError: from the ``receive`` that goes beyond it.
    """
    received = 0

    async def counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise _too_large(limit)
        return message

    return counted


def _too_large(limit: int) -> BodyTooLargeError:
    return BodyTooLargeError(f"A body may have {limit // 1024} KiB at most here; send less.")
