"""What is mended in livekit-agents here, until it is mended there."""

from __future__ import annotations

import asyncio
import time
import weakref

from livekit import rtc
from livekit.agents.voice.room_io import _output

HEARD_WITHIN_S = 6.0
"""From an agent's first word on. A browser has subscribed long before, also on a busy machine."""
_capture_frame = _output._ParticipantAudioOutput.capture_frame
_first_words: weakref.WeakKeyDictionary[_output._ParticipantAudioOutput, float] = weakref.WeakKeyDictionary()
"""When each output was given its first frame, by the monotonic clock."""


async def _captured_once_heard(output: _output._ParticipantAudioOutput, frame: rtc.AudioFrame) -> None:
    heard = output.subscribed
    if not heard.done():
        waited_s = time.monotonic() - _first_words.setdefault(output, time.monotonic())
        await asyncio.wait([heard], timeout=max(0.0, HEARD_WITHIN_S - waited_s))
    if not heard.done():
        heard.set_result(None)
    await _capture_frame(output, frame)


def keep_the_voice() -> None:
    """Let an agent speak that was interrupted before it was heard, and one whose user only reads.

    Speech waits for its track's subscription on one bare future (livekit-agents 1.8.9). Interrupting it cancels its
    task, and with it the future: each later frame is cancelled at once, and the agent is silent for the whole call. And
    the words of speech are told as it is played: who subscribes to no sound would never read any.
    """
    _output._ParticipantAudioOutput.capture_frame = _captured_once_heard  # type: ignore[method-assign, assignment]
