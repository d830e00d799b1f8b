"""One conversation: an ``AgentSession`` on a room that is already connected, from the claim to its end."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
from collections.abc import Callable, Sequence

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    CloseEvent,
    ConversationItemAddedEvent,
    llm,
    room_io,
)
from livekit.agents.utils import http_context

from agent import livekit_fixes, traces, voices
from agent.usage import Meter
from agent.voices.phrases import intent_of
from contract.messages import Assignment, Measured, Turn

logger = logging.getLogger("greenroom.agent")
livekit_fixes.keep_the_voice()

RESUMED_LINE = "Sorry, we were cut off for a moment. I am back. Please go on."
"""Said by the successor of an agent that died, instead of a greeting."""
DEFAULT_LINE = "Hello. How can I help you?"
_MAX_TEXT = 16_384
_INPUT_SAMPLE_RATE = 16_000
"""What voice detection and recognition need: nothing is resampled on the way."""


def _unheard(report: Measured) -> None:
    """Nobody counts it."""


class Conversation:
    """Talks with one user. ``on_turn`` gets each finished turn, ``on_end`` the reason, at most once,
    ``on_measured`` what was measured, after each answer.

    ``history`` is what was said before this agent took over, oldest first; ``resumed`` means that the user was there.
    """

    def __init__(
        self,
        room: rtc.Room,
        assignment: Assignment,
        agent_factory: Callable[[Assignment], Agent],
        *,
        on_turn: Callable[[Turn], None],
        on_end: Callable[[str], None],
        history: Sequence[Turn] = (),
        resumed: bool = False,
        on_measured: Callable[[Measured], None] = _unheard,
    ) -> None:
        self._room = room
        self._assignment = assignment
        self._agent_factory = agent_factory
        self._on_turn = on_turn
        self._on_end = on_end
        self._on_measured = on_measured
        self._meter: Meter | None = None
        self._history = history
        self._resumed = resumed or bool(history)
        self._agent: Agent | None = None
        self._session: AgentSession[None] | None = None
        self._greeted = False
        self._farewell = False
        self._demonstration = False
        self._ended = False
        self._resources = contextlib.AsyncExitStack()
        self._context = contextvars.copy_context()

    async def start(self) -> None:
        """Open the provider streams and listen. Only now does anything cost money."""
        await self._resources.enter_async_context(http_context.open())
        self._context = contextvars.copy_context()
        voice = voices.build(self._assignment)
        self._demonstration = voice.demonstration
        self._resources.push_async_callback(voice.aclose)
        self._agent = await self._make_agent()
        self._session = AgentSession(
            stt=voice.stt,
            llm=voice.llm,
            tts=voice.tts,
            vad=voice.vad,
            turn_handling=voice.turn_handling,
            # the default ignores what the user says in the first 3 s of speech, while echo cancelling settles
            aec_warmup_duration=None,
            user_away_timeout=None,
            # whoever ends the session does not wait for what was still being said
            session_close_transcript_timeout=0.0,
        )
        self._session.on("conversation_item_added", self._item_added)
        self._session.on("close", self._closed)
        self._meter = Meter(voice, self._on_measured)
        self._meter.watch(self._session)
        await self._session.start(self._agent, room=self._room, room_options=_room_options(voice))

    async def _make_agent(self) -> Agent:
        agent = self._agent_factory(self._assignment)
        if self._history:
            context = agent.chat_ctx.copy()
            for turn in self._history:
                context.add_message(role=turn.role, content=turn.text, created_at=turn.at)
            await agent.update_chat_ctx(context)
        return agent

    async def greet(self) -> None:
        """Say the first words; does nothing the second time. Call it when the user is in the room."""
        if self._greeted or self._session is None or self._ended:
            return
        self._greeted = True
        line = self._first_line()
        if line:
            self._session.say(line)

    def _first_line(self) -> str | None:
        """A user's own agent with an ``on_enter`` and no ``greeting`` speaks first in that, if at all."""
        if self._resumed:
            return RESUMED_LINE
        own = self._assignment.opening_line or getattr(self._agent, "greeting", None)
        speaks_itself = getattr(type(self._agent), "on_enter", None) is not Agent.on_enter
        return own if own or speaks_itself else DEFAULT_LINE

    def measure(self) -> None:
        """Report what was not reported yet: before the line to the host is closed."""
        if self._meter is not None:
            self._meter.close()

    async def aclose(self) -> None:
        """Stop talking and close every stream. ``on_end`` is not called for it."""
        self._ended = True
        if self._session is not None:
            await self._session.aclose()
        # the HTTP session is bound to the context that opened it, and only closed there
        await asyncio.create_task(self._resources.aclose(), context=self._context)

    def _item_added(self, event: ConversationItemAddedEvent) -> None:
        item = event.item
        if not isinstance(item, llm.ChatMessage) or item.role not in ("user", "assistant"):
            return
        text = item.text_content
        if not text:
            return
        self._on_turn(_turn(item, text))
        traces.turn(item, self._assignment.trace)
        self._notice_farewell(item, text)

    def _notice_farewell(self, item: llm.ChatMessage, text: str) -> None:
        """The user's goodbye ends the conversation once the answer to it was spoken to its end."""
        if item.role == "user":
            # a model that can be told when to end the call is not cut short by a word
            self._farewell = self._demonstration and intent_of(text) == "goodbye"
        elif self._farewell and not item.interrupted:
            self._end("the user said goodbye")

    def _closed(self, event: CloseEvent) -> None:
        detail = f": {event.error.type}" if event.error else ""
        self._end(f"the conversation closed ({event.reason.value}{detail})")

    def _end(self, reason: str) -> None:
        if not self._ended:
            self._ended = True
            logger.info("conversation ended", extra={"reason": reason})
            self._on_end(reason)


def _turn(item: llm.ChatMessage, text: str) -> Turn:
    return Turn(
        role="user" if item.role == "user" else "assistant",
        text=text[:_MAX_TEXT],
        at=item.created_at,
        interrupted=item.interrupted,
        latency_s=item.metrics.get("e2e_latency"),
    )


def _room_options(voice: voices.Voice) -> room_io.RoomOptions:
    """Speech and typed text in, speech and transcripts out. A user who leaves may come back."""
    return room_io.RoomOptions(
        audio_input=room_io.AudioInputOptions(sample_rate=_INPUT_SAMPLE_RATE),
        audio_output=room_io.AudioOutputOptions(sample_rate=voice.tts.sample_rate),
        text_input=True,
        text_output=True,
        close_on_disconnect=False,
    )
