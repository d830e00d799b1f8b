"""A session for ``greenroom talk``, through the API: started, waited for when none was waiting, and ended."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any, ClassVar

from orchestrator.cli import environment
from orchestrator.cli.client import ApiClient, local_url
from orchestrator.cli.console import CommandError
from orchestrator.cli.talk_call import Room

_POLL_S = 0.02


@dataclass(frozen=True)
class Started:
    """A session that was handed to us."""

    session_id: str
    prewarmed: bool
    answered_at: float
    room: Room | None
    """Where to join, when an agent was waiting."""


class CallerClient(ApiClient):
    """A caller's: with an API key or a JWT, where one is asked for."""

    remedies: ClassVar[Mapping[int, str]] = {401: "set API_KEYS in the environment or in .env, or give --api-key"}

    def start(self, body: Mapping[str, str]) -> Started:
        """Start a session."""
        answer = self.post("/api/session/start", body)
        room = _room(answer["join"]) if "join" in answer else None
        return Started(answer["sessionId"], answer["prewarmed"], monotonic(), room)

    def wait_ready(self, session_id: str, timeout_s: float) -> None:
        """Wait until the session's agent is in its room."""
        deadline = monotonic() + timeout_s
        while monotonic() < deadline:
            session = self.get(f"/api/session/{session_id}")
            if session["status"] in ("ready", "active"):
                return
            if session["status"] != "starting":
                raise CommandError(f"session {session_id}: {session['error'] or session['status']}")
            sleep(_POLL_S)
        raise CommandError(f"session {session_id} is not ready after {timeout_s:g} s: see `greenroom status`")

    def room(self, session_id: str, name: str) -> Room:
        """Where to join a session."""
        return _room(self.post("/api/token", {"sessionId": session_id, "userName": name}))

    def end(self, session_id: str) -> None:
        """End a session."""
        self.delete(f"/api/session/{session_id}")


def _room(join: Mapping[str, Any]) -> Room:
    return Room(join["url"], join["token"])


def find_api(url: str | None, api_key: str | None) -> CallerClient:
    """A client for this address and key; what is not given is what this folder's settings say."""
    environment.merge_dotenv(Path.cwd() / ".env", os.environ)
    keys = [key.strip() for key in os.environ.get("API_KEYS", "").split(",") if key.strip()]
    return CallerClient(url or local_url(), api_key or next(iter(keys), None))
