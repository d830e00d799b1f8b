"""A user who clicked, and what they are waiting for: to be in a room and to see an agent there that listens."""

from __future__ import annotations

import asyncio
from time import monotonic

from livekit import rtc

from orchestrator.adapters.livekit_connect import connect

STATE = "lk.agent.state"


class RoomUser:
    """Clicks when it is made, and is served when it is connected and sees an agent whose state is *listening*.

    Without a microphone, which would cost the same in every room. Made inside the event loop that it lives on.
    """

    def __init__(self) -> None:
        self.clicked_at = monotonic()
        self.room_name: str | None = None
        """Once it is known."""
        self.room = rtc.Room()
        self._served: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.room.on("participant_connected", self._look)
        self.room.on("participant_attributes_changed", lambda _, participant: self._look(participant))

    async def join(self, url: str, token: str) -> None:
        """Join, and look who is there already."""
        await connect(self.room, url, token)
        for participant in self.room.remote_participants.values():
            self._look(participant)

    async def served(self) -> float:
        """Seconds from the click until it was served."""
        return await self._served - self.clicked_at

    async def leave(self) -> None:
        """Leave the room; harmless when it never was in one."""
        self._served.cancel()
        await self.room.disconnect()

    def _look(self, participant: rtc.Participant) -> None:
        is_agent = participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT
        listens = is_agent and participant.attributes.get(STATE) == "listening"
        if listens and self.room.isconnected() and not self._served.done():
            self._served.set_result(monotonic())
