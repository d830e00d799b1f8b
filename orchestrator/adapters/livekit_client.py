"""A user's side of a room by livekit-rtc: a microphone, ears and the chat. For terminals, tests and benchmarks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import Any, Literal, Self

import numpy as np
from livekit import rtc
from livekit.rtc.participant import PublishTrackError

from orchestrator.adapters.livekit_connect import connect
from orchestrator.domain.errors import RoomsUnavailableError

SAMPLE_RATE = 48_000
"""Hz of what is heard; it is mono int16."""
AUDIBLE_RMS = 200.0
"""Root mean square of int16 samples: speech is above 1000, comfort noise below 50."""
PAUSE_S = 0.3
"""Sounds closer together than this are one."""
QUIET_S = 0.5
"""For so long nothing is audible once the agent has finished: what is still on its way has arrived by then."""
JOIN_TIMEOUT_S = 10.0

_FRAME_MS = 20
_FRAME_SAMPLES = SAMPLE_RATE * _FRAME_MS // 1000
_PIECE_SAMPLES = 5 * _FRAME_SAMPLES
"""Of speech, which is handed over well ahead: in frames it would be five times as many calls."""
_MICROPHONE_QUEUE_MS = 1000
"""A sentence is handed over well ahead of its sound, which a busy machine would otherwise tear."""
_SILENCE_AHEAD_S = 0.06
"""Silence is not: what comes next would have to wait for its end."""
_POLL_S = 0.01

_CHAT = "lk.chat"
_TRANSCRIPTION = "lk.transcription"
_AGENT_STATE = "lk.agent.state"
_FINAL = "lk.transcription_final"
_SEGMENT = "lk.segment_id"
_BUSY = ("initializing", "thinking", "speaking")

Who = Literal["user", "agent"]


class CallOverError(Exception):
    """The room was closed, this user was removed from it, or LiveKit is not there any more."""


@dataclass
class Line:
    """What one side said at a stretch, by the agent's transcription. Its text grows until it is final."""

    id: str
    who: Who
    began_at: float
    text: str = ""
    final: bool = False


@dataclass
class Sound:
    """A stretch of audible sound from the agent."""

    began_at: float
    ended_at: float


class Caller:
    """A user in a room, with a microphone that is always on; without ``sound`` one who only types and reads.

    ``join`` first and ``leave`` at the end; between them everything in any order. All times are ``time.monotonic()``.
    A wait raises ``TimeoutError``, which says what for, and ``CallOverError`` when the room is gone. Made inside the
    event loop that it lives on. ``on_line`` is called with each line whenever it changed.
    """

    def __init__(self, *, on_line: Callable[[Line], None] | None = None, sound: bool = True) -> None:
        self.transcripts: list[Line] = []
        """Both sides, in the order in which they began; what was typed too."""
        self.sounds: list[Sound] = []
        """When the agent was audible, oldest first."""
        self.joined_at: float | None = None
        self.agent_seen_at: float | None = None
        self.over = False
        """Whether the room was closed, or left."""
        self._on_line = on_line or (lambda _: None)
        self._heard: list[tuple[float, bytes]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._room = rtc.Room()
        self._sound = sound
        self._microphone = _Microphone()
        self._room.on("participant_connected", self._look)
        self._room.on("participant_attributes_changed", lambda _, participant: self._look(participant))
        self._room.on("track_subscribed", self._on_track)
        self._room.on("disconnected", self._on_disconnected)
        self._room.register_text_stream_handler(_TRANSCRIPTION, self._on_transcription)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.leave()

    # --- coming and going ------------------------------------------------------------------------------

    async def join(self, url: str, token: str, *, timeout_s: float = JOIN_TIMEOUT_S) -> None:
        """Join the token's room and open the microphone.

        Raises:
            RoomsUnavailableError: LiveKit cannot be reached, or refuses the token.
        """
        try:
            async with asyncio.timeout(timeout_s):
                await connect(self._room, url, token, rtc.RoomOptions(auto_subscribe=self._sound))
                self.joined_at = monotonic()
                if self._sound:
                    await self._microphone.publish(self._room)
        except (rtc.ConnectError, PublishTrackError, TimeoutError) as error:
            await self.leave()
            reason = str(error) or f"no answer in {timeout_s:g} s"
            raise RoomsUnavailableError(
                f"LiveKit at {url} cannot be joined ({reason}): check the server, and that this machine reaches it"
            ) from error
        if self._sound:
            self._spawn(self._microphone.run())
        for participant in self._room.remote_participants.values():
            self._look(participant)

    async def leave(self) -> None:
        """Leave the room and close everything; harmless the second time."""
        self.over = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._room.disconnect()
        await self._microphone.aclose()

    async def agent_seen(self, timeout_s: float) -> float:
        """Wait for the agent: somebody of kind *agent* whose state is known. Returns when it was first seen."""
        await self._until(lambda: self.agent_seen_at is not None, "an agent in the room", timeout_s)
        return self.agent_seen_at or 0.0

    @property
    def agent_state(self) -> str | None:
        """``listening``, ``thinking``, ``speaking`` …; None while there is no agent."""
        states = (p.attributes.get(_AGENT_STATE) for p in self._room.remote_participants.values() if _is_agent(p))
        return next((state for state in states if state), None)

    # --- saying ----------------------------------------------------------------------------------------

    async def say_pcm(self, pcm: bytes, sample_rate: int) -> float:
        """Say mono int16 PCM in real time; returns when its last audible sample leaves the microphone."""
        return await self._microphone.say(_at_sample_rate(pcm, sample_rate))

    async def type_text(self, text: str) -> float:
        """Write into the room's chat; returns when it was sent.

        Raises:
            CallOverError: it could not be sent; also while LiveKit does not answer and the room is not given up yet.
        """
        try:
            sent = await self._room.local_participant.send_text(text, topic=_CHAT)
        except rtc.StreamError as error:
            raise CallOverError("the connection to LiveKit was lost, and what was typed was not sent") from error
        self._update(self._line(sent.stream_id, "user"), text, final=True)
        return monotonic()

    # --- hearing ---------------------------------------------------------------------------------------

    @property
    def first_sound_at(self) -> float | None:
        """When the agent was first audible."""
        return self.sounds[0].began_at if self.sounds else None

    @property
    def heard_pcm(self) -> bytes:
        """Everything the agent's track carried, its silences too."""
        return self.heard_after(0.0)

    def heard_after(self, at: float) -> bytes:
        """What the agent's track carried since then."""
        return b"".join(pcm for heard_at, pcm in self._heard if heard_at > at)

    def sound_after(self, at: float) -> float | None:
        """When the first sound after ``at`` began; None when there was none."""
        return next((sound.began_at for sound in self.sounds if sound.began_at > at), None)

    async def answer_to(self, ended_at: float, timeout_s: float) -> float:
        """Wait for the first sound that begins after a sentence's end; returns when it began."""
        await self._until(lambda: self.sound_after(ended_at) is not None, "an answer", timeout_s)
        return self.sound_after(ended_at) or 0.0

    async def quiet(self, timeout_s: float) -> None:
        """Wait until the agent has finished: it listens, and nothing was audible for a moment. Gone is quiet, too."""
        with suppress(CallOverError):
            await self._until(self._is_quiet, "an end of what the agent says", timeout_s)

    def _is_quiet(self) -> bool:
        last_sound_at = self.sounds[-1].ended_at if self.sounds else 0.0
        return self.agent_state not in _BUSY and monotonic() - last_sound_at >= QUIET_S

    async def _until(self, condition: Callable[[], bool], what: str, timeout_s: float) -> None:
        deadline = monotonic() + timeout_s
        while not condition():
            if self.over:
                raise CallOverError(f"the room was closed while waiting for {what}")
            if monotonic() > deadline:
                raise TimeoutError(f"waited {timeout_s:g} s in vain for {what}")
            await asyncio.sleep(_POLL_S)

    # --- what the room reports -------------------------------------------------------------------------

    def _look(self, participant: rtc.Participant) -> None:
        if self.agent_seen_at is None and _is_agent(participant) and participant.attributes.get(_AGENT_STATE):
            self.agent_seen_at = monotonic()

    def _on_disconnected(self, _reason: object) -> None:
        self.over = True

    def _on_track(self, track: rtc.Track, _: object, participant: rtc.RemoteParticipant) -> None:
        if isinstance(track, rtc.RemoteAudioTrack) and _is_agent(participant):
            self._spawn(self._listen(track))

    async def _listen(self, track: rtc.RemoteAudioTrack) -> None:
        stream = rtc.AudioStream.from_track(
            track=track, sample_rate=SAMPLE_RATE, num_channels=1, frame_size_ms=_FRAME_MS
        )
        try:
            async for event in stream:
                self._hear(bytes(event.frame.data), monotonic())
        finally:
            await stream.aclose()

    def _hear(self, pcm: bytes, now: float) -> None:
        self._heard.append((now, pcm))
        if loudness(pcm) < AUDIBLE_RMS:
            return
        if self.sounds and now - self.sounds[-1].ended_at < PAUSE_S:
            self.sounds[-1].ended_at = now
        else:
            self.sounds.append(Sound(now, now))

    def _on_transcription(self, reader: rtc.TextStreamReader, identity: str) -> None:
        self._spawn(self._read(reader, "user" if identity == self._room.local_participant.identity else "agent"))

    async def _read(self, reader: rtc.TextStreamReader, who: Who) -> None:
        """Follow one stream. The agent's line is one stream that grows, the user's a stream for each version of it."""
        line = self._line((reader.info.attributes or {}).get(_SEGMENT) or reader.info.stream_id, who)
        text = ""
        with suppress(ConnectionError):  # cut off: what came until then was said
            async for chunk in reader:
                text += chunk
                self._update(line, text, final=False)
        self._update(line, text, final=(reader.info.attributes or {}).get(_FINAL) == "true")

    def _line(self, segment: str, who: Who) -> Line:
        for line in self.transcripts:
            if line.id == segment:
                return line
        self.transcripts.append(Line(segment, who, monotonic()))
        return self.transcripts[-1]

    def _update(self, line: Line, text: str, *, final: bool) -> None:
        if line.final or (text, final) == (line.text, line.final):
            return
        line.text, line.final = text, final
        self._on_line(line)

    def _spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


class _Microphone:
    """Silence for ever, and in it what there is to say, at the pace at which it is spoken."""

    def __init__(self) -> None:
        self._source = rtc.AudioSource(SAMPLE_RATE, 1, queue_size_ms=_MICROPHONE_QUEUE_MS)
        self._to_say: asyncio.Queue[tuple[np.ndarray, asyncio.Future[float]]] = asyncio.Queue()

    async def publish(self, room: rtc.Room) -> None:
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await room.local_participant.publish_track(track, options)

    async def say(self, samples: np.ndarray) -> float:
        said: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._to_say.put_nowait((samples, said))
        return await said

    async def run(self) -> None:
        silence = rtc.AudioFrame(bytes(2 * _FRAME_SAMPLES), SAMPLE_RATE, 1, _FRAME_SAMPLES)
        while True:
            if self._to_say.empty():
                if self._source.queued_duration > _SILENCE_AHEAD_S:
                    await asyncio.sleep(_FRAME_MS / 1000)
                else:
                    await self._source.capture_frame(silence)
                continue
            samples, said = self._to_say.get_nowait()
            try:
                await self._capture(samples)
                ended_at = monotonic() + self._source.queued_duration
                await self._source.wait_for_playout()
                if not said.done():
                    said.set_result(ended_at - _tail_s(samples))
            finally:
                said.cancel()  # of what was cut short by leaving

    async def _capture(self, samples: np.ndarray) -> None:
        for piece in _pieces(samples):
            await self._source.capture_frame(rtc.AudioFrame(piece.tobytes(), SAMPLE_RATE, 1, piece.size))

    async def aclose(self) -> None:
        while not self._to_say.empty():
            self._to_say.get_nowait()[1].cancel()
        await self._source.aclose()


def loudness(pcm: bytes) -> float:
    """The root mean square of int16 samples."""
    samples = np.frombuffer(pcm, np.int16).astype(np.float32)
    return float(np.sqrt(np.mean(samples * samples))) if samples.size else 0.0


def _is_agent(participant: rtc.Participant) -> bool:
    return participant.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT


def _at_sample_rate(pcm: bytes, sample_rate: int) -> np.ndarray:
    if sample_rate != SAMPLE_RATE:
        resampler = rtc.AudioResampler(sample_rate, SAMPLE_RATE)
        pcm = b"".join(bytes(frame.data) for frame in [*resampler.push(bytearray(pcm)), *resampler.flush()])
    return np.frombuffer(pcm, np.int16)


def _pieces(samples: np.ndarray) -> list[np.ndarray]:
    """The samples in pieces of whole frames; the last frame is filled up with silence."""
    padded = np.pad(samples, (0, -samples.size % _FRAME_SAMPLES))
    return [padded[at : at + _PIECE_SAMPLES] for at in range(0, padded.size, _PIECE_SAMPLES)]


def _tail_s(samples: np.ndarray) -> float:
    """Seconds of silence at the end of what ``_pieces`` makes of it."""
    audible = np.flatnonzero(np.abs(samples.astype(np.int32)) > AUDIBLE_RMS)
    total = samples.size + (-samples.size % _FRAME_SAMPLES)
    return (total - 1 - int(audible[-1])) / SAMPLE_RATE if audible.size else 0.0
