"""A conversation with the offline voice, on real sound in a real room."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from livekit import rtc
from livekit.agents import Agent, llm

from agent.assistant import assistant
from agent.conversation import RESUMED_LINE, Conversation
from agent.settings import load_settings
from agent.voices.recognition import SAMPLE_RATE, recognise
from agent.voices.script import GREETING, JOKES
from contract.messages import Assignment, Measured, Turn
from tests.support.brought import Cartesia, Deepgram
from tests.support.servers import LiveKitServer
from tests.support.speech import User, joined, spoken, until, user_in

pytestmark = pytest.mark.alone


@dataclass
class Scene:
    """An agent in its room with its conversation started, and what came of it."""

    server: LiveKitServer
    name: str
    room: rtc.Room
    conversation: Conversation
    turns: list[Turn] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    reports: list[Measured] = field(default_factory=list)

    @property
    def said(self) -> list[tuple[str, str]]:
        return [(turn.role, turn.text) for turn in self.turns]

    async def greeted(self, user: User) -> None:
        await self.conversation.greet()
        await until(lambda: self.turns, "the greeting was spoken")
        await user.quiet()

    async def answer(self, user: User, sentence: str) -> list[Turn]:
        """Say the sentence, hear the answer to its end, and return both turns."""
        before = len(self.turns)
        await user.say(spoken(sentence))
        await until(lambda: len(self.turns) >= before + 2, f"an answer to {sentence!r}")
        await user.quiet()
        return self.turns[before:]


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    load_settings.cache_clear()


@contextlib.asynccontextmanager
async def scene(
    server: LiveKitServer,
    *,
    opening_line: str | None = None,
    history: Sequence[Turn] = (),
    factory: Callable[[Assignment], Agent] = assistant,
) -> AsyncIterator[Scene]:
    name = f"room-{uuid.uuid4().hex}"
    assignment = Assignment(session_id=f"session_{uuid.uuid4().hex}", fence=1, user_id="u", opening_line=opening_line)
    async with joined(server, name, "agent", agent=True) as room:
        turns: list[Turn] = []
        ends: list[str] = []
        reports: list[Measured] = []
        conversation = Conversation(
            room, assignment, factory, on_turn=turns.append, on_end=ends.append, history=history,
            on_measured=reports.append,
        )  # fmt: skip
        await conversation.start()
        try:
            yield Scene(server, name, room, conversation, turns, ends, reports)
        finally:
            await conversation.aclose()


async def test_spoken_questions_are_answered_aloud(livekit_server: LiveKitServer) -> None:
    async with scene(livekit_server) as s, user_in(livekit_server, s.name) as user:
        await s.greeted(user)
        assert s.said == [("assistant", GREETING)]

        asked, told = await s.answer(user, "what time is it")
        assert asked.text == "what time is it"
        assert told.text.startswith("It is ")
        assert told.latency_s is not None
        assert 0.5 < user.heard_s < 4

        asked, told = await s.answer(user, "tell me a joke")
        assert (asked.text, told.text) == ("tell me a joke", JOKES[0])
        assert 1.5 < user.heard_s < 8

        asked, told = await s.answer(user, "purple elephants dance slowly under the table")
        assert asked.text == "[not understood]"
        assert "did not understand" in told.text

        asked, told = await s.answer(user, "goodbye")
        assert asked.text == "goodbye"
        await until(lambda: s.ends, "the conversation ended")
        assert s.ends == ["the user said goodbye"]


async def test_the_sound_is_the_answer(livekit_server: LiveKitServer) -> None:
    """What came back through the room is recognised again."""
    async with (
        scene(livekit_server, opening_line="what time is it") as s,
        user_in(livekit_server, s.name) as user,
    ):
        await s.greeted(user)
        user.forget()
        await user.write("repeat that")
        await until(lambda: len(s.turns) == 3, "it was repeated")
        await user.quiet()
        heard = np.concatenate(user.heard)
        loud = np.flatnonzero(np.abs(heard) > 300)
        margin = SAMPLE_RATE * 4 // 10
        cut = heard[max(0, loud[0] - margin) : loud[-1] + margin]
        assert recognise(cut.tobytes()) == "what time is it"


async def test_a_short_pause_does_not_end_the_turn(livekit_server: LiveKitServer) -> None:
    async with scene(livekit_server) as s, user_in(livekit_server, s.name) as user:
        await s.greeted(user)
        asked, _ = await s.answer(user, "what time{pause} is it")
        assert asked.text == "what time is it"
        assert len(s.turns) == 3


async def test_interrupted_before_anybody_could_hear_it_the_agent_still_speaks(livekit_server: LiveKitServer) -> None:
    async with scene(livekit_server) as s, user_in(livekit_server, s.name, subscribes=False) as user:
        await until(lambda: s.room.remote_participants, "the agent sees the user")
        await s.conversation.greet()
        await user.write("blue whale")
        await until(lambda: ("user", "blue whale") in s.said, "the greeting was interrupted")
        await user.subscribe()
        await until(lambda: ("assistant", "You said: blue whale") in s.said, "an answer")
        await user.quiet()
        assert user.heard_s > 0.6


async def test_one_who_subscribes_to_no_sound_is_answered_in_writing(livekit_server: LiveKitServer) -> None:
    async with scene(livekit_server) as s, user_in(livekit_server, s.name, subscribes=False) as user:
        await until(lambda: s.room.remote_participants, "the agent sees the user")
        await s.conversation.greet()
        await until(lambda: s.turns, "the greeting is over")
        await user.write("blue whale")
        await until(lambda: ("assistant", "You said: blue whale") in s.said, "an answer")
        assert user.heard == []


async def test_typed_text_is_answered(livekit_server: LiveKitServer) -> None:
    async with scene(livekit_server) as s, user_in(livekit_server, s.name) as user:
        await s.greeted(user)
        await user.write("Are you there, by any chance?")
        await until(lambda: len(s.turns) == 3, "an answer")
        assert s.said[1:] == [
            ("user", "Are you there, by any chance?"),
            ("assistant", "You said: Are you there, by any chance?"),
        ]


async def test_the_user_may_interrupt(livekit_server: LiveKitServer) -> None:
    async with scene(livekit_server) as s, user_in(livekit_server, s.name) as user:
        await s.greeted(user)
        user.forget()
        await user.write("what can you do")
        await until(lambda: user.heard_s > 0.3, "the agent speaks")
        await user.say(spoken("tell me a joke"))
        await until(lambda: len(s.turns) == 5, "the second answer")
        interrupted, second = s.turns[2], s.turns[4]
        assert interrupted.interrupted
        assert interrupted.text != second.text
        assert s.turns[3].text == "tell me a joke"
        assert second.text == JOKES[0]
        await until(lambda: sum(report.barge_ins for report in s.reports) == 1, "it was counted, once")


async def test_one_greeting_and_one_conversation_over_a_reload(livekit_server: LiveKitServer) -> None:
    async with scene(livekit_server) as s:
        async with user_in(livekit_server, s.name) as user:
            await s.greeted(user)
            await s.answer(user, "tell me a joke")
        await until(lambda: not s.room.remote_participants, "the user is gone")
        async with user_in(livekit_server, s.name) as user:
            await s.conversation.greet()
            asked, told = await s.answer(user, "another joke")
            assert (asked.text, told.text) == ("another joke", JOKES[1])
            await user.write("thanks")
            await until(lambda: len(s.turns) == 7, "an answer to typed text")
        assert [text for _, text in s.said].count(GREETING) == 1
        assert not s.ends


async def test_a_successor_knows_the_conversation_and_says_so(livekit_server: LiveKitServer) -> None:
    history = [
        Turn(role="user", text="tell me a joke", at=1.0),
        Turn(role="assistant", text=JOKES[0], at=2.0),
    ]
    async with (
        scene(livekit_server, opening_line="Welcome.", history=history) as s,
        user_in(livekit_server, s.name) as user,
    ):
        await s.greeted(user)
        assert s.said == [("assistant", RESUMED_LINE)]
        _, told = await s.answer(user, "another joke")
        assert told.text == JOKES[1]


class Porter(Agent):
    """A user's own agent: speaks first by itself, and hangs up after one question."""

    def __init__(self, _: Assignment) -> None:
        super().__init__(instructions="")

    async def on_enter(self) -> None:
        self.session.say("Porter speaking.")

    async def on_user_turn_completed(self, turn_ctx: llm.ChatContext, new_message: llm.ChatMessage) -> None:
        self.session.shutdown(drain=False)


async def test_a_users_own_agent_greets_and_hangs_up_by_itself(livekit_server: LiveKitServer) -> None:
    async with (
        scene(livekit_server, factory=Porter) as s,
        user_in(livekit_server, s.name) as user,
    ):
        await s.greeted(user)
        assert s.said == [("assistant", "Porter speaking.")]
        await user.say(spoken("hello"))
        await until(lambda: s.ends, "it hung up")
        assert s.ends == ["the conversation closed (user_initiated)"]


def own_ears_and_mouth(_: Assignment) -> Agent:
    """A user's own agent with a model of its own for all but the thinking."""
    return Agent(instructions="", stt=Deepgram(), tts=Cartesia())


async def test_what_an_agent_brought_is_measured_as_its_own(livekit_server: LiveKitServer) -> None:
    async with (
        scene(livekit_server, factory=own_ears_and_mouth) as s,
        user_in(livekit_server, s.name) as user,
    ):
        await s.greeted(user)
        await s.answer(user, "what time is it")
        s.conversation.measure()
        found = {(timing.of, timing.provider) for report in s.reports for timing in report.timings}
        assert found == {("stt", "other"), ("llm", "offline"), ("tts", "other"), ("latency", "other")}
