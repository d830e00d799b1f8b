"""LiveKit's server API: rooms, tokens, webhooks. A user's side of a room is ``livekit_client``."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from livekit import api

from orchestrator.domain.errors import RoomsUnavailableError, RoomsUnreachableError, UnauthorizedError

REQUEST_TIMEOUT_S = 5.0
LONGEST_ROOM_S = 7 * 86_400


@dataclass(frozen=True)
class LiveKitKey:
    """Where LiveKit is and the key that opens it."""

    url: str
    key: str
    secret: str


class LiveKitRooms:
    """``ports.Rooms`` on LiveKit's server API.

    A participant of kind *agent* does not keep a room open, so both time-outs are set far enough: ``empty_timeout``
    for an agent that waits alone, ``departure_timeout`` for a user who comes back.
    """

    def __init__(self, livekit: LiveKitKey, *, empty_timeout_s: float, departure_timeout_s: float) -> None:
        self._livekit = livekit
        self._empty_timeout_s = min(LONGEST_ROOM_S, int(empty_timeout_s))
        self._departure_timeout_s = min(LONGEST_ROOM_S, int(departure_timeout_s))
        self._client: api.LiveKitAPI | None = None

    async def create(self, room: str) -> None:
        """See ``ports.Rooms``."""
        request = api.CreateRoomRequest(
            name=room, empty_timeout=self._empty_timeout_s, departure_timeout=self._departure_timeout_s
        )
        await self._call(self._api().room.create_room(request))

    async def delete(self, room: str) -> None:
        """See ``ports.Rooms``."""
        try:
            await self._call(self._api().room.delete_room(api.DeleteRoomRequest(room=room)))
        except RoomsUnavailableError as error:
            cause = error.__cause__
            if not (isinstance(cause, api.TwirpError) and cause.code == "not_found"):
                raise

    async def sid(self, room: str) -> str | None:
        """See ``ports.Rooms``."""
        found = await self._call(self._api().room.list_rooms(api.ListRoomsRequest(names=[room])))
        return found.rooms[0].sid if found.rooms else None

    async def ping(self) -> None:
        """See ``ports.Rooms``."""
        await self._call(self._api().room.list_rooms(api.ListRoomsRequest(names=["-"])))

    async def aclose(self) -> None:
        """Close the HTTP client."""
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    def _api(self) -> api.LiveKitAPI:
        # Made on the first call: the HTTP client belongs to the running event loop.
        if self._client is None:
            livekit = self._livekit
            self._client = api.LiveKitAPI(livekit.url, livekit.key, livekit.secret, failover=False)
        return self._client

    async def _call(self, call: Awaitable[Any]) -> Any:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):  # the library has longer ones of its own for some requests
                return await call
        except api.TwirpError as error:
            # The server does not give a wrong key's reason as its library expects it, nor does a proxy before it.
            said = error.message or f"HTTP {error.status}; check LIVEKIT_URL, LIVEKIT_API_KEY and LIVEKIT_API_SECRET"
            raise RoomsUnavailableError(f"LiveKit refused: {said}") from error
        except (TimeoutError, aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError) as error:
            raise RoomsUnreachableError("LiveKit does not answer; check LIVEKIT_URL and the server") from error
        except Exception as error:  # the library takes whatever answers for LiveKit, and trips over what it says
            what = f"what answers at LIVEKIT_URL is no LiveKit server ({type(error).__name__})"
            raise RoomsUnavailableError(what) from error


class LiveKitTokens:
    """Makes room tokens. The same arguments give the same token, so a repeated answer is the same answer."""

    def __init__(self, livekit: LiveKitKey) -> None:
        self._livekit = livekit
        # The library copies its claims deeply, which took half of a token's time: once for each kind is enough.
        self._user = _claims("standard", api.VideoGrants(room_join=True, can_update_own_metadata=False))
        self._agent = _claims("agent", api.VideoGrants(room_join=True, agent=True, can_update_own_metadata=True))

    def user(self, room: str, identity: str, name: str, *, issued_at: float, ttl_s: float) -> str:
        """A token for a user: join this room, speak, listen, type."""
        return self._token(self._user, room, identity, name, issued_at, ttl_s)

    def agent(self, room: str, *, issued_at: float, ttl_s: float) -> str:
        """A token for the room's agent; browsers find it by its kind and by ``lk.agent.state``."""
        return self._token(self._agent, room, f"agent-{room}", "agent", issued_at, ttl_s)

    def _token(self, kind: dict[str, Any], room: str, identity: str, name: str, issued_at: float, ttl_s: float) -> str:
        claims = {
            **kind,
            "name": name,
            "video": {**kind["video"], "room": room},
            "sub": identity,
            "iss": self._livekit.key,
            "nbf": int(issued_at),
            "exp": int(issued_at + ttl_s),
        }
        return _signed(claims, self._livekit.secret.encode())


JWT_HEADER = b"eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9"
"""``{"alg":"HS256","typ":"JWT"}``"""


def _signed(claims: dict[str, Any], secret: bytes) -> str:
    """A JWT by HS256. PyJWT looks at each call whether the secret is some certificate, three times as long."""
    text = JWT_HEADER + b"." + _base64url(json.dumps(claims, separators=(",", ":")).encode())
    return (text + b"." + _base64url(hmac.digest(secret, text, "sha256"))).decode()


def _base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _claims(kind: Literal["standard", "agent"], grants: api.VideoGrants) -> dict[str, Any]:
    return dict(api.access_token.Claims(kind=kind, video=grants).asdict())


@dataclass(frozen=True)
class RoomEvent:
    """What LiveKit says has happened in a room."""

    kind: str
    """``participant_joined``, ``participant_left``, ``room_finished`` or another of LiveKit's names."""
    room: str
    is_user: bool
    room_sid: str = ""
    """Which of the rooms that have had this name."""
    id: str = ""
    """The same when the event is sent again."""


class LiveKitWebhooks:
    """Checks and reads LiveKit's signed webhooks."""

    def __init__(self, livekit: LiveKitKey) -> None:
        self._receiver = api.WebhookReceiver(api.TokenVerifier(livekit.key, livekit.secret))

    def read(self, body: str, authorization: str) -> RoomEvent:
        """The event.

        Raises:
            UnauthorizedError: not signed with our key, or not for this body.
        """
        try:
            event = self._receiver.receive(body, authorization.removeprefix("Bearer "))
        except Exception as error:  # the receiver raises bare Exceptions
            raise UnauthorizedError("the webhook's signature is not LiveKit's") from error
        kinds = api.ParticipantInfo.Kind
        is_user = event.participant.kind not in (kinds.AGENT, kinds.EGRESS)  # an egress records; nobody is there
        return RoomEvent(event.event, event.room.name, is_user, event.room.sid, event.id)
