"""What the offline voice understands: a small table of phrases, by what the user wants.

The recogniser's grammar and the scripted answers are both derived from it.
"""

from __future__ import annotations

from typing import Literal

Intent = Literal[
    "time", "joke", "count", "help", "who", "hello", "thanks", "repeat", "goodbye", "not understood", "other"
]

NOT_UNDERSTOOD = "[not understood]"
"""The transcript of speech that is none of the phrases."""

NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")

PHRASES: dict[Intent, tuple[str, ...]] = {
    "time": ("what time is it", "what is the time", "what's the time", "tell me the time"),
    "joke": ("tell me a joke", "tell me another joke", "another joke"),
    "count": tuple(f"count to {number}" for number in NUMBERS),
    "help": ("help", "help me", "help please", "what can you do"),
    "who": ("who are you",),
    "hello": ("hello", "good morning"),
    "thanks": ("thanks", "thank you", "thank you very much"),
    "repeat": ("repeat that", "say that again"),
    "goodbye": ("goodbye", "bye bye"),
}

_INTENT_OF = {phrase: intent for intent, phrases in PHRASES.items() for phrase in phrases}
_WRITTEN_ONLY: dict[str, Intent] = {"hi": "hello", "bye": "goodbye", "good bye": "goodbye"}
"""Too short, or too like another, to be told apart by ear."""


def normalise(text: str) -> str:
    """Lower case, without the punctuation of typed text: ``What time is it?`` → ``what time is it``."""
    kept = "".join(letter for letter in text.lower().replace("\u2019", "'") if letter not in '.,;:!?"')
    return " ".join(kept.split())


def intent_of(text: str) -> Intent:
    """What the user wants; ``other`` for text that is in no table."""
    phrase = normalise(text)
    if NOT_UNDERSTOOD in phrase:
        return "not understood"
    return _INTENT_OF.get(phrase) or _WRITTEN_ONLY.get(phrase, "other")
