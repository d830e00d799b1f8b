from __future__ import annotations

import pytest

from agent.assistant import INSTRUCTIONS, Assistant, assistant
from agent.settings import load_settings
from agent.voices.script import GREETING
from contract.messages import Assignment


def assignment(**given: str) -> Assignment:
    return Assignment(session_id="session_0123456789abcdef", fence=1, user_id="u", **given)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASSEMBLY_API_KEY", "GROQ_API_KEY", "INWORLD_API_KEY"):
        monkeypatch.setenv(name, "key")
    load_settings.cache_clear()


def made(**given: str) -> Assistant:
    agent = assistant(assignment(**given))
    assert isinstance(agent, Assistant)
    return agent


def test_the_callers_prompt_is_its_instructions() -> None:
    assert made(system_prompt="Be brief.").instructions == "Be brief."
    assert made().instructions == INSTRUCTIONS


def test_it_greets_by_name() -> None:
    assert made(user_name="Ada").greeting == "Hello, Ada. How can I help you?"
    assert made().greeting == "Hello. How can I help you?"


def test_the_demonstration_says_that_it_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GROQ_API_KEY")
    load_settings.cache_clear()
    assert made(user_name="Ada").greeting == GREETING
    assert "demonstration" in GREETING
