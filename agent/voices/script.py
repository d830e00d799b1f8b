"""Answers without a language model: a table of what to say to each phrase of the offline voice."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, llm, utils
from typing_extensions import override

from agent.voices.phrases import NUMBERS, Intent, intent_of, normalise

GREETING = "This is Greenroom's offline demonstration voice. Ask me for the time or a joke."

JOKES = (
    "Why did the scarecrow win a prize? He was outstanding in his field.",
    "What do you call a fish with no eyes? A fsh.",
    "Why do bees have sticky hair? They use honey combs.",
    "What did the zero say to the eight? Nice belt.",
    "Why did the bicycle fall over? It was two tired.",
)

FIXED: dict[Intent, str] = {
    "help": "You can ask me for the time or a joke, ask me to count to ten, or say goodbye.",
    "who": "I am Greenroom's demonstration voice. I run without any network.",
    "hello": "Hello. What can I do for you?",
    "thanks": "You are welcome.",
    "goodbye": "Goodbye. It was nice talking to you.",
    "not understood": "Sorry, I did not understand that. Say help to hear what I know.",
}


def answer(said: str, spoken_before: list[str]) -> str:
    """What to say to ``said``; ``spoken_before`` is what this side has said so far, oldest first.

    A function of the conversation and the clock, so that a successor after a crash goes on where it was.
    """
    intent = intent_of(said)
    spoken: dict[Intent, Callable[[], str]] = {
        "time": lambda: _time(datetime.now().astimezone()),
        "joke": lambda: JOKES[sum(line in JOKES for line in spoken_before) % len(JOKES)],
        "count": lambda: _count(normalise(said).split()[-1]),
        "repeat": lambda: spoken_before[-1] if spoken_before else "I have not said anything yet.",
        "other": lambda: f"You said: {said.strip()}",
    }
    return FIXED[intent] if intent in FIXED else spoken[intent]()


def _time(now: datetime) -> str:
    hour = now.hour % 12 or 12
    return f"It is {hour}:{now.minute:02} {'AM' if now.hour < 12 else 'PM'}."


def _count(last: str) -> str:
    counted = NUMBERS[: NUMBERS.index(last) + 1]
    return ", ".join(counted).capitalize() + "."


class ScriptedLLM(llm.LLM[str]):
    """Answers from the table, at once."""

    @property
    @override
    def model(self) -> str:
        return "script"

    @property
    @override
    def provider(self) -> str:
        return "offline"

    @override
    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: list[llm.Tool] | None = None,
        conn_options: APIConnectOptions = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        return _Answer(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class _Answer(llm.LLMStream):
    async def _run(self) -> None:
        messages = self._chat_ctx.messages()
        said = next((m.text_content or "" for m in reversed(messages) if m.role == "user"), "")
        before = [m.text_content or "" for m in messages if m.role == "assistant"]
        delta = llm.ChoiceDelta(role="assistant", content=answer(said, before))
        self._event_ch.send_nowait(llm.ChatChunk(id=utils.shortuuid(), delta=delta))
