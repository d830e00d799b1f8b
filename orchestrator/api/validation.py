"""Bodies into models, and pydantic's errors into words: which field, what is wrong with it, what it should be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from pydantic import BaseModel, ValidationError

from orchestrator.domain.errors import InvalidRequestError

Model = TypeVar("Model", bound=BaseModel)

SHOWN_CHARS = 64
"""Of a name that the caller made up."""
PARAMETERS = {
    "sessionId": "a session id, as POST /api/session/start answers it",
    "hostId": "a host's id, as GET /api/hosts tells it",
    "status": "starting, ready, active, ended or failed",
}
PLACES = frozenset({"body", "path", "query", "header"})


@dataclass(frozen=True)
class FieldError:
    """One field that is wrong, by its name in JSON."""

    field: str
    message: str


class InvalidFieldsError(InvalidRequestError):
    """Fields of the request are not as they should be."""

    def __init__(self, errors: list[FieldError] | None = None) -> None:
        self.errors = errors or []
        super().__init__("; ".join(f"{error.field}: {error.message}" for error in self.errors) or None)


def parsed(model: type[Model], body: bytes) -> Model:
    """The body as a model.

    Raises:
        InvalidFieldsError: it is not JSON, or a field is not as it should be.
    """
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise explain(error.errors(include_url=False), model) from None


async def body_of(request: Request, model: type[Model]) -> Model:
    """The request's body as a model.

    Raises:
        InvalidFieldsError: it is not JSON, or a field is not as it should be.
    """
    return parsed(model, await request.body())


def explain(errors: Sequence[Any], model: type[BaseModel] | None = None) -> InvalidFieldsError:
    """Say what is wrong with each field, and what it should be."""
    known = _fields(model) if model else PARAMETERS
    return InvalidFieldsError([_explained(error, known) for error in errors])


def _fields(model: type[BaseModel], within: str = "") -> dict[str, str]:
    """What each field should be; that of a model in it under both names, as ``marks.click``."""
    words: dict[str, str] = {}
    for name, field in model.model_fields.items():
        shown = within + (field.alias or name)
        words[shown] = field.description or ""
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            words |= _fields(field.annotation, f"{shown}.")
    return words


def _explained(error: Mapping[str, Any], known: Mapping[str, str]) -> FieldError:
    loc = list(error["loc"])
    if loc and loc[0] in PLACES:
        loc = loc[1:]
    name = ".".join(str(part) for part in loc)
    hint = known.get(name) or known.get(str(loc[0]) if loc else "")
    within = ".".join(str(part) for part in loc[:-1])
    siblings = [field for field in known if field.rpartition(".")[0] == within]
    return FieldError(name[:SHOWN_CHARS] or "body", _message(error, hint, siblings))


def _message(error: Mapping[str, Any], hint: str | None, siblings: Sequence[str]) -> str:
    kind = error["type"]
    match kind:
        case "missing":
            words = f"is required: {hint or 'give it'}"
        case "extra_forbidden":
            words = f"is not a field of this request; remove it (its fields: {', '.join(siblings)})"
        case "json_invalid":
            words = f"should be JSON: {error.get('ctx', {}).get('error', 'it is not')}"
        case "model_type" | "model_attributes_type":
            words = "should be a JSON object"
        case "value_error":
            words = str(error["msg"]).removeprefix("Value error, ")
        case _:
            words = f"should be {hint}" if hint else _lowered(str(error["msg"]))
    return words


def _lowered(words: str) -> str:
    return words[:1].lower() + words[1:]
