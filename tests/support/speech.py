"""A user for tests: joins a room, says sentences with espeak-ng, and keeps what comes back."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable

import numpy as np
from livekit import api, rtc

from speech import espeak
from tests.support.servers import LIVEKIT_KEY, LIVEKIT_SECRET, LiveKitServer

RATE = 16_000
_FRAME_MS = 20
_LOUD = 300.0
"""Root mean square of int16 samples, above which a piece counts as sound."""


def resample(pcm: bytes, from_hz: int, to_hz: int = RATE) -> np.ndarray:
    """Mono int16 PCM at another rate, by linear interpolation: good enough for speech."""
    samples = np.frombuffer(pcm, np.int16)
    at = np.arange(int(samples.size * to_hz / from_hz)) * from_hz / to_hz
    return np.interp(at, np.arange(samples.size), samples).astype(np.int16)


def spoken(text: str, *, voice: str | None = None) -> np.ndarray:
    """``text`` as int16 samples of 16 kHz. ``{pause}`` in it is 300 ms of silence."""
    parts = [resample(*espeak.speak_to_pcm(part, voice)) for part in text.split("{pause}")]
    silence = np.zeros(RATE * 300 // 1000, np.int16)
    joined: list[np.ndarray] = []
    for part in map(_trimmed, parts):
        joined += [part, silence]
    return np.concatenate(joined[:-1])


def _trimmed(samples: np.ndarray) -> np.ndarray:
    """Without the silence that espeak-ng puts around a sentence."""
    loud = np.flatnonzero(np.abs(samples) > 200)
    return samples[loud[0] : loud[-1] + 1]


async def until(condition: Callable[[], object], what: str, *, timeout_s: float = 15.0) -> None:
    """Return once ``condition()`` is true; fail the test when it is not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
        await asyncio.sleep(0.01)


def token(room: str, identity: str, *, agent: bool = False) -> str:
    """A LiveKit token for the test server."""
    grants = api.VideoGrants(room_join=True, room=room, agent=agent)
    made = api.AccessToken(LIVEKIT_KEY, LIVEKIT_SECRET).with_identity(identity).with_grants(grants)
    return made.with_kind("agent" if agent else "standard").to_jwt()


@contextlib.asynccontextmanager
async def joined(
    server: LiveKitServer, room: str, identity: str, *, agent: bool = False, subscribes: bool = True
) -> AsyncIterator[rtc.Room]:
    """A connected room; left at the end."""
    connected = rtc.Room()
    options = rtc.RoomOptions(auto_subscribe=subscribes)
    await connected.connect(server.url, token(room, identity, agent=agent), options)
    try:
        yield connected
    finally:
        await connected.disconnect()


class User:
    """Somebody in the room with a microphone that is always on."""

    def __init__(self, room: rtc.Room) -> None:
        self.room = room
        self.heard: list[np.ndarray] = []
        """Everything the agent's track carried, as 20 ms pieces of 16 kHz."""
        self.first_sound_at: float | None = None
        self.sentence_ended_at = 0.0
        self._to_say: asyncio.Queue[np.ndarray] = asyncio.Queue()
        self._source = rtc.AudioSource(RATE, 1, queue_size_ms=1000)
        self._tasks: list[asyncio.Task[None]] = []
        room.on("track_subscribed", self._subscribed)

    @property
    def heard_s(self) -> float:
        """Seconds of loud sound heard."""
        return sum(_FRAME_MS / 1000 for piece in self.heard if _loudness(piece) > _LOUD)

    async def start(self) -> None:
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self.room.local_participant.publish_track(track, options)
        self._tasks.append(asyncio.create_task(self._speak()))

    async def say(self, samples: np.ndarray) -> None:
        """Say it into the microphone; returns when its last sample was handed over."""
        self.forget()
        await self._to_say.put(samples)
        await self._to_say.join()
        self.sentence_ended_at = time.monotonic() + self._source.queued_duration

    def forget(self) -> None:
        """Start hearing anew."""
        self.heard.clear()
        self.first_sound_at = None

    async def quiet(self) -> None:
        """Return once the agent's last words have arrived: nothing loud for 300 ms."""
        await until(lambda: all(_loudness(piece) < _LOUD for piece in self.heard[-15:]), "quiet")

    async def subscribe(self) -> None:
        """Begin to hear the one agent in the room."""
        await until(self._publications, "the agent's track is published")
        for publication in self._publications():
            publication.set_subscribed(True)

    def _publications(self) -> list[rtc.RemoteTrackPublication]:
        others = self.room.remote_participants.values()
        return [publication for other in others for publication in other.track_publications.values()]

    async def write(self, text: str) -> None:
        """Type it into the chat."""
        await self.room.local_participant.send_text(text, topic="lk.chat")

    async def aclose(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._source.aclose()

    async def _speak(self) -> None:
        """Silence for ever, and in it what there is to say: what a microphone does."""
        size = RATE * _FRAME_MS // 1000
        while True:
            samples, said = self._next()
            # A sentence is handed over well ahead of its sound, which a busy machine would otherwise tear.
            if not said and self._source.queued_duration > 0.06:
                await asyncio.sleep(_FRAME_MS / 1000)
                continue
            for start in range(0, samples.size, size):
                piece = samples[start : start + size]
                data = np.pad(piece, (0, size - piece.size)).tobytes()
                await self._source.capture_frame(rtc.AudioFrame(data, RATE, 1, size))
            if said:
                self._to_say.task_done()

    def _next(self) -> tuple[np.ndarray, bool]:
        with contextlib.suppress(asyncio.QueueEmpty):
            return self._to_say.get_nowait(), True
        return np.zeros(RATE * _FRAME_MS // 1000, np.int16), False

    def _subscribed(self, track: rtc.Track, *_: object) -> None:
        if isinstance(track, rtc.RemoteAudioTrack):
            self._tasks.append(asyncio.create_task(self._listen(track)))

    async def _listen(self, track: rtc.RemoteAudioTrack) -> None:
        stream = rtc.AudioStream.from_track(track=track, sample_rate=RATE, num_channels=1, frame_size_ms=_FRAME_MS)
        try:
            async for event in stream:
                piece = np.frombuffer(event.frame.data, np.int16).copy()
                self.heard.append(piece)
                if self.first_sound_at is None and _loudness(piece) > _LOUD:
                    self.first_sound_at = time.monotonic()
        finally:
            await stream.aclose()


def _loudness(samples: np.ndarray) -> float:
    return float(np.sqrt(np.mean(samples.astype(np.float64) ** 2))) if samples.size else 0.0


@contextlib.asynccontextmanager
async def user_in(
    server: LiveKitServer, room: str, identity: str = "user", *, subscribes: bool = True
) -> AsyncIterator[User]:
    """A user with an open microphone; gone at the end. Hears nothing before ``subscribe`` where told so."""
    async with joined(server, room, identity, subscribes=subscribes) as connected:
        user = User(connected)
        await user.start()
        try:
            yield user
        finally:
            await user.aclose()
