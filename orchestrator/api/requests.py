"""What callers send. A field's description is also what its error says that it should be."""

from __future__ import annotations

import math
import unicodedata
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, JsonValue
from pydantic.alias_generators import to_camel

from contract.keys import DEFAULT_KIND, KIND_PATTERN
from contract.messages import SessionId

ONE_LINE = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
"""Something to see, and no control character."""
TEXT = r"^[^\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]*$"
"""New lines and tabs are welcome, other control characters are not."""
LINE_WORDS = "a text of 1 to 128 characters, some of them visible, without control and formatting characters"
HIDDEN_KINDS = frozenset({"Cf", "Cs", "Zl", "Zp"})
"""Unicode's categories of what one does not see, and what changes how others look, such as their direction."""
JOINERS = frozenset("\u200c\u200d")
"""Persian and Indic names are written with them, and emoji of several parts."""
BLANKS = frozenset("\u115f\u1160\u3164\uffa0\u2800")
"""Letters and symbols that are blank."""
VOICE = r"^[A-Za-z0-9][A-Za-z0-9 ._:/+-]*$"
LANGUAGE = r"^[A-Za-z]{2,3}([-_][A-Za-z0-9]{2,8}){0,3}$"

KIND_WORDS = "the name of a kind of agent that this server has"
METADATA_WORDS = "a JSON object, at most 4 levels deep and of 64 values, with names of up to 64 characters"
METADATA_DEPTH = 4
METADATA_VALUES = 64
METADATA_NAME_CHARS = 64


def _legible(line: str) -> str:
    """The line, if a person who reads it sees what it is."""
    if line.isascii():  # the pattern sees to it, and most are
        return line
    kinds = [unicodedata.category(character) for character in line]
    seen = any(kind[0] in "LNPS" and character not in BLANKS for kind, character in zip(kinds, line, strict=True))
    hidden = {character for kind, character in zip(kinds, line, strict=True) if kind in HIDDEN_KINDS}
    if not seen or hidden - JOINERS:
        raise ValueError(f"should be {LINE_WORDS}")
    return line


def _bounded(metadata: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if _weight(metadata, METADATA_DEPTH) > METADATA_VALUES:
        raise ValueError(f"should be {METADATA_WORDS}")
    return metadata


def _weight(value: JsonValue, levels: int) -> float:
    """How many values it has; infinite when it is too deep, or has a name or number that is none."""
    if isinstance(value, dict):
        if levels == 0 or any(len(name) > METADATA_NAME_CHARS for name in value):
            return math.inf
        return 1 + sum(_weight(item, levels - 1) for item in value.values())
    if isinstance(value, list):
        return math.inf if levels == 0 else 1 + sum(_weight(item, levels - 1) for item in value)
    if isinstance(value, float) and not math.isfinite(value):
        return math.inf
    return 1


def _line(description: str, most: int, pattern: str = ONE_LINE) -> Any:
    return Field(description=description, min_length=1, max_length=most, pattern=pattern)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel)


Line = Annotated[str, _line(LINE_WORDS, 128), AfterValidator(_legible)]

MARK_WORDS = "a number of milliseconds after the click, from 0 to 600000"
Mark = Annotated[float, Field(strict=True, ge=0, le=600_000, allow_inf_nan=False)]


class StartBody(_Body):
    """A start. What is given binds at the claim, also on an agent that was waiting."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"userId": "user_123", "userName": "Ada"},
                {"userId": "user_123", "voice": "Ashley", "language": "en", "metadata": {"plan": "pro"}},
                {"userId": "user_123", "agent": "default"},
            ]
        }
    )

    user_id: Line
    user_name: Line | None = Field(default=None, description=LINE_WORDS)
    voice: Annotated[str, _line("a voice's name of up to 64 characters", 64, VOICE)] | None = Field(
        default=None, description="a voice's name: up to 64 letters, digits, blanks and . _ : / + -"
    )
    language: Annotated[str, _line("a language tag", 35, LANGUAGE)] | None = Field(
        default=None, description="a language tag such as en or pt-BR"
    )
    system_prompt: Annotated[str, _line("a text", 8000, TEXT)] | None = Field(
        default=None, description="a text of 1 to 8000 characters; needs an API key or a JWT"
    )
    opening_line: Annotated[str, _line("a text", 1000, TEXT)] | None = Field(
        default=None, description="a text of 1 to 1000 characters; needs an API key or a JWT"
    )
    correlation_id: Line | None = Field(default=None, description=LINE_WORDS)
    metadata: Annotated[dict[str, JsonValue], AfterValidator(_bounded)] | None = Field(
        default=None, description=METADATA_WORDS
    )
    agent: str = Field(default=DEFAULT_KIND, pattern=KIND_PATTERN, description=KIND_WORDS)

    @property
    def has_prompts(self) -> bool:
        """Whether it says how the agent speaks, which not everybody may."""
        return self.system_prompt is not None or self.opening_line is not None


class TokenBody(_Body):
    """A request for a room token."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"sessionId": "prewarm_9f2c0d1e", "userName": "Ada"}]})

    session_id: SessionId = Field(description="a session id, as POST /api/session/start answers it")
    user_name: Line


class ResizeBody(_Body):
    """The pool's new size."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"size": 5}, {"size": 2, "agent": "default"}]})

    size: int = Field(strict=True, description="a whole number from 0 to MAX_BOTS")
    agent: str = Field(default=DEFAULT_KIND, pattern=KIND_PATTERN, description=KIND_WORDS)


class Marks(_Body):
    """Moments on the user's page, in milliseconds after the click. Each follows the one before it."""

    click: Annotated[float, Field(strict=True, ge=0, le=0, description="0: all others count from it")]
    answer: Annotated[Mark, Field(description=MARK_WORDS)]
    token: Mark | None = Field(default=None, description=MARK_WORDS)
    connected: Mark | None = Field(default=None, description=MARK_WORDS)
    agent_seen: Mark | None = Field(default=None, description=MARK_WORDS)
    first_sound: Mark | None = Field(default=None, description=MARK_WORDS)

    def in_order(self) -> dict[str, float]:
        """Those that are there, by their names in JSON."""
        marks: dict[str, float] = self.model_dump(by_alias=True, exclude_none=True)
        return marks


class TimelineBody(_Body):
    """What the user's page measured from the click to the first sound."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "marks": {
                        "click": 0, "answer": 12, "token": 12, "connected": 240, "agentSeen": 255, "firstSound": 710,
                    }
                }
            ]
        }
    )  # fmt: skip

    marks: Marks = Field(description="an object of numbers: click, answer, token, connected, agentSeen, firstSound")


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """The request body of a route that reads it itself, for the OpenAPI document."""
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{model.__name__}"}}}
    return {"requestBody": {"required": True, "content": content}}
