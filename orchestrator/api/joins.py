"""What a browser needs to join a session's room."""

from __future__ import annotations

import re
from typing import Any

from orchestrator.bootstrap import Container

UNSAFE = re.compile(r"[^A-Za-z0-9_.@-]")


def identity_of(user_id: str) -> str:
    """A user's identity in the room: the same after a reload, so that LiveKit replaces the connection."""
    return "user-" + UNSAFE.sub("_", user_id)


def join_of(container: Container, room: str, user_id: str, *, issued_at: float) -> dict[str, Any]:
    """All but the token; what is kept to answer the same request again."""
    return {
        "url": container.settings.public_livekit_url,
        "room": room,
        "identity": identity_of(user_id),
        "expiresAt": int(issued_at + container.settings.token_ttl_s),
    }


def with_token(container: Container, join: dict[str, Any], name: str, *, issued_at: float) -> dict[str, Any]:
    """The join with its token. The same arguments give the same token, so it needs not be kept anywhere."""
    issued = int(issued_at)
    ttl_s = join["expiresAt"] - issued
    token = container.tokens.user(join["room"], join["identity"], name, issued_at=issued, ttl_s=ttl_s)
    return {**join, "token": token}
