"""Strategies for messages of every kind, read off their classes, and for what is almost one."""

from __future__ import annotations

import json
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MaxLen
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from contract.messages import AnyMessage

KINDS: tuple[type[BaseModel], ...] = get_args(get_args(AnyMessage)[0])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)
"""What JSON can say."""

WRONG = ("", "x", "\u0000", None, True, [], {}, [[]], -1, 0.5, 2**63, 10**400, "9" * 5000)
"""What some field or other does not take."""


def models(kind: type[BaseModel]) -> st.SearchStrategy[Any]:
    """Any message of this kind."""
    fields = {name: _values(field.annotation, field.metadata) for name, field in kind.model_fields.items()}
    return st.fixed_dictionaries(fields).map(lambda values: kind(**values))


def _values(annotation: Any, limits: list[Any]) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        base, *more = arguments
        own = [limit for each in more for limit in (each.metadata if isinstance(each, FieldInfo) else [each])]
        return _values(base, [*limits, *own])
    if origin in (Union, UnionType):
        return st.one_of(*(_values(each, limits) for each in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in (list, tuple):
        return st.lists(_values(arguments[0], []), max_size=3).map(origin)
    if origin is dict:
        return st.dictionaries(st.text(max_size=8), json_values, max_size=3)
    if annotation is NoneType:
        return st.none()
    if issubclass(annotation, BaseModel):
        return models(annotation)
    return _plain(annotation, limits)


def _plain(kind: type, limits: list[Any]) -> st.SearchStrategy[Any]:
    least = max((each.ge if isinstance(each, Ge) else each.gt + 1 for each in limits if isinstance(each, Ge | Gt)),
                default=None)  # fmt: skip
    most = min((each.le if isinstance(each, Le) else each.lt - 1 for each in limits if isinstance(each, Le | Lt)),
               default=None)  # fmt: skip
    pattern = next((each.pattern for each in limits if getattr(each, "pattern", None)), None)
    if kind is bool:
        return st.booleans()
    if kind is int:
        return st.integers(least, most)
    if kind is float:
        return st.floats(least, most, allow_nan=False, allow_infinity=False)
    assert kind is str, f"say here what a {kind} may be"
    if pattern is not None:
        return st.from_regex(pattern, fullmatch=True)
    longest = next((each.max_length for each in limits if isinstance(each, MaxLen)), 200)
    return st.text(max_size=min(longest, 200))


any_message = st.one_of(*map(models, KINDS))


@st.composite
def spoilt_lines(draw: st.DrawFn) -> bytes:
    """A message with something wrong: a field, a byte, its end; or none at all. Its line's end may be missing."""
    line = bytearray(draw(any_message).to_line())
    match draw(st.sampled_from(["field", "missing", "byte", "cut", "bytes", "version"])):
        case "field":
            content = json.loads(line)
            content[draw(st.sampled_from(sorted(content)))] = draw(st.sampled_from(WRONG))
            return json.dumps(content).encode() + b"\n"
        case "missing":
            content = json.loads(line)
            del content[draw(st.sampled_from(sorted(content)))]
            return json.dumps(content).encode() + b"\n"
        case "byte":
            line[draw(st.integers(0, len(line) - 1))] = draw(st.integers(0, 255))
        case "cut":
            del line[draw(st.integers(0, len(line) - 1)) :]
        case "bytes":
            return draw(st.binary(max_size=200))
        case "version":
            return json.dumps({**json.loads(line), "v": draw(st.sampled_from([0, 2, "1", None]))}).encode() + b"\n"
    return bytes(line)
