"""What a call costs, and what PRICES may say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.measures import Used
from orchestrator.domain.prices import DEFAULT_PRICES, NAMES, Prices, parse_prices


def test_usage_times_price() -> None:
    prices = Prices({"groq.llm_input_tokens": 0.5, "inworld.tts_characters": 2.0})
    used = [
        Used(unit="llm_input_tokens", provider="groq", amount=3),
        Used(unit="tts_characters", provider="inworld", amount=4),
        Used(unit="tts_characters", provider="offline", amount=1000),
    ]
    assert prices.total(used) == 9.5


def test_an_hour_of_speech_by_default() -> None:
    assert Prices().of(Used(unit="stt_seconds", provider="assemblyai", amount=3600)) == pytest.approx(0.15, rel=1e-5)


def test_what_is_not_named_keeps_its_price() -> None:
    prices = parse_prices('{"groq.llm_input_tokens": 0, "other.stt_seconds": 1}')
    assert prices.usd == {**DEFAULT_PRICES, "groq.llm_input_tokens": 0, "other.stt_seconds": 1}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cheap", "should be a JSON object"),
        ("[1]", "should be a JSON object"),
        ('{"groq.minutes": 1}', "should name a provider and a unit"),
        ('{"groq.llm_input_tokens": -1}', "should be US dollars for one"),
        ('{"groq.llm_input_tokens": "1"}', "should be US dollars for one"),
        ('{"groq.llm_input_tokens": true}', "should be US dollars for one"),
        ('{"groq.llm_input_tokens": Infinity}', "should be US dollars for one"),
        ('{"groq.llm_input_tokens": NaN}', "should be US dollars for one"),
        ("[" * 100_000, "should be a JSON object"),
    ],
)
def test_what_is_no_table_is_refused_in_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_prices(text)


@given(st.dictionaries(st.sampled_from(sorted(NAMES)), st.floats(0, 1e6)))
def test_any_table_there_and_back(table: dict[str, float]) -> None:
    import json

    assert parse_prices(json.dumps(table)).usd == {**DEFAULT_PRICES, **table}
