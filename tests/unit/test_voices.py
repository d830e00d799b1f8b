"""The offline voice's parts: what it understands, what it answers, how it speaks; and which voice is built."""

from __future__ import annotations

import re
from datetime import datetime

import numpy as np
import pytest

from agent import voices
from agent.settings import AgentSettings, SettingsError, load_settings
from agent.voices.phrases import NOT_UNDERSTOOD, PHRASES, intent_of
from agent.voices.recognition import PhraseSTT, recognise
from agent.voices.script import FIXED, JOKES, ScriptedLLM, answer
from agent.voices.speech import EspeakTTS
from contract.messages import Assignment
from speech import espeak
from tests.support.speech import RATE, spoken

ASSIGNMENT = Assignment(session_id="session_0123456789abcdef", fence=1, user_id="u")
KEYS = ("ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY")


def heard(samples: np.ndarray) -> str:
    """As voice detection cuts it: 0.5 s before, 0.35 s after."""
    return recognise(np.pad(samples, (RATE // 2, RATE * 35 // 100)).tobytes())


@pytest.fixture(autouse=True)
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)
    load_settings.cache_clear()


@pytest.mark.parametrize(
    "phrase",
    ["what time is it", "tell me a joke", "count to three", "help me", "what can you do", "hello",
     "thank you", "repeat that", "who are you", "goodbye"],
)  # fmt: skip
def test_each_kind_of_phrase_is_recognised(phrase: str) -> None:
    assert heard(spoken(phrase)) == phrase


@pytest.mark.parametrize(
    "sentence",
    ["purple elephants dance slowly under the table", "I would like to order a pizza",
     "the quarterly revenue was above expectations", "where is my umbrella", "the weather in Paris"],
)  # fmt: skip
def test_other_speech_is_not_forced_into_a_phrase(sentence: str) -> None:
    assert heard(spoken(sentence)) == NOT_UNDERSTOOD


def test_a_click_is_no_speech() -> None:
    assert heard(np.full(RATE // 50, 8000, np.int16)) == ""


@pytest.mark.parametrize(
    ("text", "intent"),
    [("What time is it?", "time"), ("GOODBYE!", "goodbye"), ("bye", "goodbye"), ("Hi.", "hello"),
     (f"{NOT_UNDERSTOOD} help", "not understood"), ("blue", "other"), ("", "other")],
)  # fmt: skip
def test_text_has_one_intent(text: str, intent: str) -> None:
    assert intent_of(text) == intent


def test_every_phrase_has_an_answer() -> None:
    for intent, phrases in PHRASES.items():
        for phrase in phrases:
            assert intent_of(phrase) == intent
            assert answer(phrase, ["Before."])


def test_the_time_is_the_local_time() -> None:
    before = datetime.now().astimezone()
    said = answer("what time is it", [])
    after = datetime.now().astimezone()
    match = re.fullmatch(r"It is (\d+):(\d\d) (AM|PM)\.", said)
    assert match
    assert (int(match[1]) % 12, int(match[2])) in {(t.hour % 12, t.minute) for t in (before, after)}


def test_jokes_follow_one_another_and_begin_again() -> None:
    told: list[str] = []
    for _ in range(len(JOKES) + 1):
        told.append(answer("another joke", ["Hello.", *told]))
    assert told == [*JOKES, JOKES[0]]


def test_it_counts_repeats_and_echoes() -> None:
    assert answer("count to four", []) == "One, two, three, four."
    assert answer("say that again", ["One.", "Two."]) == "Two."
    assert answer("say that again", []) == "I have not said anything yet."
    assert answer(" Blue whales ", []) == "You said: Blue whales"
    assert answer(NOT_UNDERSTOOD, []) == FIXED["not understood"]


def test_espeak_speaks_at_a_plausible_length_and_loudness() -> None:
    pcm, rate = espeak.speak_to_pcm("This is a sentence of ordinary length.")
    samples = np.frombuffer(pcm, np.int16).astype(np.float64)
    assert rate == 22_050
    assert 1.5 < samples.size / rate < 4
    assert np.sqrt(np.mean(samples**2)) > 1000


def test_a_voice_is_found_by_name_then_language_and_is_never_an_error(
    caplog: pytest.LogCaptureFixture,
) -> None:
    assert espeak.choose_voice("en-us+f3", "de") == "en-us+f3"
    assert espeak.choose_voice(None, "de") == "de"
    assert espeak.choose_voice(None, "en-GB") == "en"
    assert espeak.choose_voice(None, "fr-CA") == "fr"
    assert not caplog.records
    assert espeak.choose_voice("Ashley", None) == espeak.DEFAULT_VOICE
    assert [record.message for record in caplog.records] == ["espeak-ng has no such voice"]


def test_different_voices_sound_different() -> None:
    assert espeak.speak_to_pcm("Hello.", "en-us") != espeak.speak_to_pcm("Hello.", "en-us+f3")


async def test_without_keys_everything_is_offline() -> None:
    voice = voices.build(ASSIGNMENT)
    assert isinstance(voice.stt, PhraseSTT)
    assert isinstance(voice.llm, ScriptedLLM)
    assert isinstance(voice.tts, EspeakTTS)
    assert voice.demonstration
    await voice.aclose()


async def test_each_key_brings_its_provider() -> None:
    settings = AgentSettings(
        assembly_api_key="a",
        groq_api_key="g",
        inworld_api_key="i",  # type: ignore[arg-type]
    )
    voice = voices.build(ASSIGNMENT, settings)
    assert (voice.stt.provider, voice.tts.provider) == ("AssemblyAI", "Inworld")
    assert voice.llm.model == settings.groq_model
    assert not voice.demonstration
    await voice.aclose()


async def test_one_key_alone_is_enough_for_its_part() -> None:
    settings = AgentSettings(groq_api_key="g")  # type: ignore[arg-type]
    voice = voices.build(ASSIGNMENT, settings)
    assert isinstance(voice.stt, PhraseSTT)
    assert voice.llm.model == settings.groq_model
    assert isinstance(voice.tts, EspeakTTS)
    assert voice.demonstration
    await voice.aclose()


@pytest.mark.parametrize(
    ("name", "value"),
    [("ASSEMBLY_BASE_URL", "https://wrong"), ("GROQ_BASE_URL", "groq"), ("INWORLD_BASE_URL", "wss://wrong"),
     ("INWORLD_WS_URL", "https://wrong")],
)  # fmt: skip
def test_a_wrong_variable_is_named_on_one_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=rf"^{name} must be [^\n]+$"):
        load_settings()


def test_an_empty_key_is_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "")
    assert load_settings().groq_api_key is None
