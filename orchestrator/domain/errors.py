"""Errors that callers are told about. Each has a stable code, a status and a default message."""

from __future__ import annotations


class GreenroomError(Exception):
    """Something went wrong."""

    code = "internal_error"
    status = 500
    retry_after_s: int | None = None

    def __init__(self, detail: str | None = None, *, retry_after_s: int | None = None) -> None:
        self.detail = detail or (type(self).__doc__ or "").strip()
        if retry_after_s is not None:
            self.retry_after_s = retry_after_s
        super().__init__(self.detail)


class SessionNotFoundError(GreenroomError):
    """There is no session with this id."""

    code, status = "session_not_found", 404


class SessionEndedError(GreenroomError):
    """This session is over. Start another one."""

    code, status = "session_ended", 410


class AtCapacityError(GreenroomError):
    """Every agent is busy and the queue is full. Try again in a moment."""

    code, status, retry_after_s = "at_capacity", 503, 5


class AgentsUnavailableError(GreenroomError):
    """No agent waits, and none can be started at the moment. Try again a little later."""

    code, status, retry_after_s = "agents_unavailable", 503, 5


class StartUnderWayError(AgentsUnavailableError):
    """This request came again meanwhile, and is being answered there. Send it again in a moment for the same answer."""

    retry_after_s = 1


class TooManyStreamsError(GreenroomError):
    """This server has as many open event streams as it may. Ask for the session from time to time instead."""

    code, status, retry_after_s = "too_many_streams", 503, 5


class IdempotencyConflictError(GreenroomError):
    """This Idempotency-Key was used with another body. Use a new key for a new request."""

    code, status = "idempotency_conflict", 409


class StoreUnavailableError(GreenroomError):
    """The session store is away. Nothing was lost; try again in a moment."""

    code, status, retry_after_s = "store_unavailable", 503, 2


class RoomsUnavailableError(GreenroomError):
    """LiveKit is away, or refused the request."""

    code, status, retry_after_s = "livekit_unavailable", 503, 5


class RoomsUnreachableError(RoomsUnavailableError):
    """LiveKit does not answer."""


class QueueUnavailableError(GreenroomError):
    """The task queue is away. Try again in a moment."""

    code, status, retry_after_s = "store_unavailable", 503, 2


class HostUnavailableError(GreenroomError):
    """The host daemon of this machine does not answer."""

    code, status = "host_unavailable", 503


class ProtectionUnavailableError(GreenroomError):
    """The platform cannot be told to leave this container running."""

    code, status = "protection_unavailable", 503


class UnauthorizedError(GreenroomError):
    """Present an API key or a token: Authorization: Bearer …"""

    code, status = "unauthorized", 401


class IdentityUnavailableError(GreenroomError):
    """The keys that JWTs are checked with cannot be read. Try again in a moment."""

    code, status, retry_after_s = "identity_unavailable", 503, 5


class ForbiddenError(GreenroomError):
    """You may not do this."""

    code, status = "forbidden", 403


class PromptNotAllowedError(GreenroomError):
    """systemPrompt and openingLine need an API key or a JWT (or ALLOW_CLIENT_PROMPTS=true)."""

    code, status = "prompt_not_allowed", 403


class InvalidRequestError(GreenroomError):
    """The request is not valid."""

    code, status = "invalid_request", 422


class HostNotFoundError(GreenroomError):
    """There is no host with this id."""

    code, status = "host_not_found", 404


class HostIdTakenError(GreenroomError):
    """Another host daemon has this HOST_ID."""

    code, status = "host_id_taken", 409

    def __init__(self, host: str, *, heartbeat: str, lease_left_s: float) -> None:
        super().__init__(
            f"HOST_ID={host} is another host daemon's, which is alive and has another GREENROOM_HOME: "
            "give each machine and each container a HOST_ID of its own"
        )
        self.heartbeat = heartbeat
        """Its last one: one that lives has another one soon."""
        self.lease_left_s = lease_left_s


class HostDrainingError(GreenroomError):
    """This host drains: it starts nothing more."""

    code, status = "host_draining", 503


class HostFullError(GreenroomError):
    """This host has as many agents as it can have, by what it measured."""

    code, status = "host_full", 503


class PassedOnError(GreenroomError):
    """Another host is to start this one: it has fewer agents, or this host was not heard of late."""

    code, status = "passed_on", 503

    def __init__(self, detail: str | None = None, *, passed: int = 1) -> None:
        super().__init__(detail)
        self.passed = passed
        """How often it was passed on, this time included."""


class BodyTooLargeError(GreenroomError):
    """A body may have 16 KiB at most."""

    code, status = "body_too_large", 413


class RequestTimeoutError(GreenroomError):
    """The request did not come whole in time. Send it again, head and body at once."""

    code, status = "request_timeout", 408


class HeadTooLargeError(GreenroomError):
    """A request may have 128 KiB and 200 headers at most. Send fewer headers, or shorter ones."""

    code, status = "head_too_large", 431
