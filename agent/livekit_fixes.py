"""What is mended in livekit-agents here, until it is mended there."""

from __future__ import annotations

import asyncio

from livekit import rtc
from livekit.agents.voice.room_io import _output

_capture_frame = _output._ParticipantAudioOutput.capture_frame


async def _captured_once_heard(output: _output._ParticipantAudioOutput, frame: rtc.AudioFrame) -> None:
    await asyncio.shield(output.subscribed)
    await _capture_frame(output, frame)


def keep_the_voice() -> None:
    """Let an agent that was interrupted before its track was subscribed to speak afterwards.

    Speech waits for the subscription on one bare future. Interrupting that speech cancels its task, and with it the
    future (livekit-agents 1.8.9): each later frame is cancelled at once, and the agent is silent for the whole call.
    """
    _output._ParticipantAudioOutput.capture_frame = _captured_once_heard  # type: ignore[method-assign, assignment]
