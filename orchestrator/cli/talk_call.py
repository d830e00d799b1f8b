"""The conversation of ``greenroom talk``, from joining the room to the end of the last answer."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.adapters.livekit_client import SAMPLE_RATE, Caller, CallOverError
from orchestrator.cli.talk_report import Kind, Report, Sentence
from orchestrator.domain.errors import RoomsUnavailableError

if TYPE_CHECKING:
    from orchestrator.adapters.livekit_client import Line
    from orchestrator.adapters.speech import Pcm

GREETING_S = 5.0
"""An agent that is silent for so long once its user is there has no greeting."""
LONGEST_ANSWER_S = 120.0
_POLL_S = 0.05


@dataclass(frozen=True)
class Utterance:
    """Something to say: aloud when it has ``pcm``, else in the chat."""

    kind: Kind
    text: str
    pcm: Pcm | None = None


@dataclass(frozen=True)
class Room:
    """Where to talk."""

    url: str
    token: str


async def converse(
    room: Room,
    utterances: Sequence[Utterance] | None,
    report: Report,
    *,
    on_line: Callable[[Line], None] | None,
    timeout_s: float,
) -> None:
    """Talk, and write into ``report`` what happened. ``utterances`` None: what is typed at the terminal."""
    async with Caller(on_line=on_line) as caller:
        try:
            await _talk(caller, room, utterances, report, timeout_s)
        except (RoomsUnavailableError, CallOverError, TimeoutError) as error:
            report.error = str(error)
        finally:
            _keep(caller, report)


async def _talk(
    caller: Caller, room: Room, utterances: Sequence[Utterance] | None, report: Report, timeout_s: float
) -> None:
    await caller.join(room.url, room.token)
    await caller.agent_seen(timeout_s)
    if utterances is None:
        await _type_along(caller, report.sentences, timeout_s)
        return
    with suppress(TimeoutError):
        await caller.answer_to(caller.joined_at or 0.0, min(timeout_s, GREETING_S))
    await caller.quiet(LONGEST_ANSWER_S)
    for utterance in utterances:
        ended_at = await _utter(caller, utterance)
        sentence = Sentence(utterance.kind, utterance.text, ended_at)
        report.sentences.append(sentence)
        sentence.answered_at = await caller.answer_to(ended_at, timeout_s)
        await caller.quiet(LONGEST_ANSWER_S)


def _utter(caller: Caller, utterance: Utterance) -> Awaitable[float]:
    if utterance.pcm is None:
        return caller.type_text(utterance.text)
    return caller.say_pcm(utterance.pcm.data, utterance.pcm.sample_rate)


async def _type_along(caller: Caller, sentences: list[Sentence], timeout_s: float) -> None:
    """Send each line as it is typed; the answers are heard meanwhile."""
    async for text in typed_lines(sys.stdin.fileno(), lambda: caller.over):
        sentences.append(Sentence("type", text, await caller.type_text(text)))
    if sentences and not caller.over:
        await caller.answer_to(sentences[-1].ended_at, timeout_s)
        await caller.quiet(LONGEST_ANSWER_S)
    for sentence in sentences:
        sentence.answered_at = caller.sound_after(sentence.ended_at)


async def typed_lines(fd: int, is_over: Callable[[], bool]) -> AsyncIterator[str]:
    """Each line with something in it, until the end of the input or until it is over."""
    loop = asyncio.get_running_loop()
    chunks: asyncio.Queue[bytes] = asyncio.Queue()
    loop.add_reader(fd, lambda: chunks.put_nowait(os.read(fd, 65_536)))
    rest = b""
    try:
        while not is_over():
            if chunks.empty():
                await asyncio.sleep(_POLL_S)
                continue
            chunk = chunks.get_nowait()
            *lines, rest = (rest + chunk).split(b"\n") if chunk else [rest, b""]
            for line in filter(None, (line.decode(errors="replace").strip() for line in lines)):
                yield line
            if not chunk:
                return
    finally:
        loop.remove_reader(fd)


def _keep(caller: Caller, report: Report) -> None:
    report.transcript = caller.transcripts
    report.heard = (caller.heard_pcm, SAMPLE_RATE)
    report.timeline.room_joined_at = caller.joined_at
    report.timeline.agent_seen_at = caller.agent_seen_at
    report.timeline.first_sound_at = caller.first_sound_at
