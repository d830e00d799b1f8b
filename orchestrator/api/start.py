"""``POST /api/session/start``: the hot path. One script and one wait in Redis, and an answer written by hand."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

from fastapi import APIRouter, Request, Response
from structlog.contextvars import bind_contextvars

from contract import tracing
from orchestrator.api import limits, problems, requests, schemas
from orchestrator.api.dependencies import CALLER
from orchestrator.api.joins import join_of, with_token
from orchestrator.api.metrics import StartOutcome
from orchestrator.api.requests import StartBody
from orchestrator.api.state import Api, api_of, timely
from orchestrator.api.validation import FieldError, InvalidFieldsError, parsed
from orchestrator.domain.errors import (
    AgentsUnavailableError,
    AtCapacityError,
    BodyTooLargeError,
    GreenroomError,
    IdempotencyConflictError,
    PromptNotAllowedError,
    UnauthorizedError,
)
from orchestrator.domain.limits import RateLimitedError
from orchestrator.records import Answered, StartRequest
from orchestrator.services.start import Handed, Starting, request_digests

router = APIRouter(tags=["sessions"])

Outcome = Handed | Starting | Answered

KEY = re.compile(r"[\x21-\x7e]{1,200}")
SPAWNING = "Agent is being spawned. Poll /api/session/:id for status."
KEY_PARAMETER = {
    "name": "Idempotency-Key",
    "in": "header",
    "required": False,
    "description": "The same key and body give the same answer for a day. 1 to 200 visible ASCII characters.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 200},
}


@dataclass(frozen=True)
class _Start:
    """One request, read."""

    body: StartBody
    request: StartRequest
    keyed: bool
    """Has an Idempotency-Key: its answer is kept."""


@dataclass(frozen=True)
class _Kept:
    """An answer without its token, as it is kept under a request's key."""

    status: int
    issued_at: float
    content: dict[str, Any]


@router.post(
    "/api/session/start",
    summary="Start a session",
    response_model=schemas.ReadyAnswer,
    response_description="An agent was waiting",
    responses={
        **limits.documented(
            {
                200: {},
                202: {"model": schemas.StartingAnswer, "description": "None was; one is being started"},
                **problems.documented(RateLimitedError, always=()),
            }
        ),
        **problems.documented(
            UnauthorizedError,
            PromptNotAllowedError,
            IdempotencyConflictError,
            BodyTooLargeError,
            AtCapacityError,
            AgentsUnavailableError,
        ),
    },
    openapi_extra={**CALLER, **requests.documented(StartBody), "parameters": [KEY_PARAMETER]},
)
async def start_session(request: Request) -> Response:
    """Hand out an agent that was waiting (200), or have one started (202)."""
    began = perf_counter()
    api = api_of(request)
    try:
        start = await _read(api, request)
        kept, outcome = await timely(_run(api, start, began))
    except GreenroomError as error:
        kind: StartOutcome = "limited" if isinstance(error, RateLimitedError) else "rejected"
        api.metrics.started(kind, perf_counter() - began)
        if isinstance(error, AtCapacityError):
            # Who went away from the queue gives up the place at a refill, and keeps nobody out until beat asks for one.
            api.background.run("refill", api.container.pool.trigger())
        raise
    _note(api, kept, outcome, began)
    return _response(api, kept, outcome, start.body)


async def _read(api: Api, request: Request) -> _Start:
    """Check who asks and what for.

    Raises:
        UnauthorizedError: callers must present something, and this is not it.
        InvalidFieldsError: a field or the Idempotency-Key is not as it should be.
        PromptNotAllowedError: it has prompts, and nothing was presented.
    """
    caller = await api.security.caller(request.headers)
    raw = await request.body()
    body = parsed(StartBody, raw)
    if body.agent not in api.container.settings.kinds.by_name:
        raise InvalidFieldsError([FieldError("agent", f"should be {requests.KIND_WORDS}")])
    if body.has_prompts and not (caller.trusted or api.container.settings.allow_client_prompts):
        raise PromptNotAllowedError
    key = request.headers.get("idempotency-key")
    if key is not None and not KEY.fullmatch(key):
        raise InvalidFieldsError([FieldError("Idempotency-Key", "should be 1 to 200 visible ASCII characters")])
    request_key, body_digest, keep_s = request_digests(caller.name, key, raw)
    counting = api.limits.of(caller, body.user_id, request)
    start = StartRequest(
        assignment=body.model_dump(exclude_none=True, exclude={"agent"}) | _trace(),
        user_id=body.user_id,
        user_name=body.user_name,
        request_key=request_key,
        body_digest=body_digest,
        keep_s=keep_s,
        counted=counting.counted,
        owner=counting.owner,
        most_sessions=counting.most_sessions,
        kind=body.agent,
    )
    return _Start(body, start, keyed=key is not None)


def _trace() -> dict[str, str]:
    """Where this request is in its trace, for the agent that it gets."""
    here = tracing.carried()
    return {} if here is None else {"trace": here}


async def _run(api: Api, start: _Start, began: float) -> tuple[_Kept, Outcome]:
    """What this request is told (with a key: what the first one with that key was told), and what was done."""
    outcome = await api.container.start(start.request)
    if isinstance(outcome, Answered):
        return _Kept(**json.loads(outcome.answer)), outcome
    kept = _ready(api, start, outcome, began) if isinstance(outcome, Handed) else _starting(outcome, began)
    if not start.keyed:
        return kept, outcome
    text = json.dumps({"status": kept.status, "issued_at": kept.issued_at, "content": kept.content})
    request = start.request
    stands = await api.container.store.keep_answer(request.request_key, text, request.keep_s)
    return _Kept(**json.loads(stands)), outcome


def _ready(api: Api, start: _Start, handed: Handed, began: float) -> _Kept:
    content: dict[str, Any] = {
        "success": True,
        "sessionId": handed.session_id,
        "status": "ready",
        "message": "Assigned pre-warmed agent",
        "prewarmed": True,
        **_latency(began),
    }
    if start.body.user_name is not None:
        content["join"] = join_of(api.container, handed.session_id, start.body.user_id, issued_at=handed.assigned_at)
    return _Kept(200, handed.assigned_at, content)


def _starting(starting: Starting, began: float) -> _Kept:
    wait_s = starting.estimated_wait_s
    content: dict[str, Any] = {
        "success": True,
        "sessionId": starting.session_id,
        "status": "starting",
        "taskId": starting.task_id,
        "prewarmed": False,
        "message": SPAWNING,
        "queuePosition": starting.position,
        "estimatedWait": None if wait_s is None else f"{wait_s:.1f}s",
        "estimatedWaitMs": None if wait_s is None else round(wait_s * 1000),
        **_latency(began),
    }
    return _Kept(202, starting.created_at, content)


def _latency(began: float) -> dict[str, Any]:
    took_ms = (perf_counter() - began) * 1000
    return {"latencyMs": round(took_ms, 1), "latency": f"{max(1, round(took_ms))}ms"}


def _note(api: Api, kept: _Kept, outcome: Outcome, began: float) -> None:
    """Count it, and have the pool refilled; the answer does not wait for that."""
    bind_contextvars(session_id=kept.content["sessionId"])
    took_s = perf_counter() - began
    if isinstance(outcome, Answered) or (isinstance(outcome, Starting) and not outcome.fresh):
        api.metrics.started("replayed", took_s)
    else:
        kind: Literal["warm", "cold"] = "warm" if kept.status == 200 else "cold"
        api.metrics.started(kind, took_s)
        api.starts.note(kind, took_s)
    if not isinstance(outcome, Answered) and outcome.refill:
        api.background.run("refill", api.container.queue.refill())


def _response(api: Api, kept: _Kept, outcome: Outcome, body: StartBody) -> Response:
    content = kept.content
    if "join" in content and body.user_name is not None:
        join = with_token(api.container, content["join"], body.user_name, issued_at=kept.issued_at)
        content = {**content, "join": join}
    headers = {} if isinstance(outcome, Answered) else limits.quota_headers(outcome.quotas)
    return Response(json.dumps(content), kept.status, headers, media_type="application/json")
