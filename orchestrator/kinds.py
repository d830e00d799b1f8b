"""The kinds of agents that there are: the default one, and those that a TOML file names (``AGENTS_FILE``)."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from contract.keys import DEFAULT_KIND, KIND_PATTERN

CALLABLE_PATTERN = r"[A-Za-z_][\w.]*:[A-Za-z_]\w*"
CALLABLE_WORDS = "a module, a colon and a callable in it, such as my_agent:build"
NAME_WORDS = "1 to 32 small letters, digits and hyphens, the first of them a letter"
FIELD_WORDS = {
    "agent": CALLABLE_WORDS,
    "floor": "a whole number, 0 at least",
    "max": "a whole number, 1 at least",
    "memory_mb": "a whole number of megabytes, 256 at least",
}
"""What each field of the file should be."""


@dataclass(frozen=True)
class AgentKind:
    """One kind of agent."""

    name: str
    agent: str
    """``module:callable``."""
    floor: int = 0
    """Agents that wait at least, until somebody resizes its pool."""
    most: int | None = None
    """Agents at most, waiting and talking together; None for no limit but ``MAX_BOTS``."""
    memory_mb: int = 2048
    """What one agent may use up."""


@dataclass(frozen=True)
class Kinds:
    """All kinds, and which of them this machine's host and worker serve."""

    by_name: Mapping[str, AgentKind]
    """The default one first."""
    served: tuple[str, ...]

    @classmethod
    def read(cls, path: Path | None, default: AgentKind, wanted: tuple[str, ...], max_agents: int) -> Kinds:
        """The default kind and those of the file; served are those that are ``wanted``, or all.

        Raises:
            ValueError: one line for each thing that is wrong, with its setting's name and what to do.
        """
        kinds = read_kinds(path, default)
        if (total := sum(kind.floor for kind in kinds.values())) > max_agents:
            each = ", ".join(f"{kind.name} {kind.floor}" for kind in kinds.values())
            raise ValueError(f"AGENTS_FILE: the floors should be at most MAX_BOTS ({max_agents}), not {total} ({each})")
        if unknown := [name for name in wanted if name not in kinds]:
            raise ValueError(f"AGENT_FILTER: there is no kind {', '.join(unknown)}; there are {', '.join(kinds)}")
        return cls(kinds, wanted or tuple(kinds))

    @property
    def default_floor(self) -> int:
        """What the pool's size is where nobody set it, of the default kind."""
        return self.by_name[DEFAULT_KIND].floor

    @property
    def floors(self) -> dict[str, int]:
        """The same of each other kind."""
        return {name: kind.floor for name, kind in self.by_name.items() if name != DEFAULT_KIND}

    @property
    def most_of(self) -> dict[str, int]:
        """Agents at most, of each kind that has such a limit."""
        return {name: kind.most for name, kind in self.by_name.items() if kind.most is not None}


class _Entry(BaseModel):
    """One table of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    agent: str | None = Field(default=None, pattern=f"^{CALLABLE_PATTERN}$")
    floor: int | None = Field(default=None, ge=0)
    max: int | None = Field(default=None, ge=1)  # as the file names it
    memory_mb: int | None = Field(default=None, ge=256)


def read_kinds(path: Path | None, default: AgentKind) -> dict[str, AgentKind]:
    """All kinds by name, the default one first. A table ``[default]`` changes that one.

    Raises:
        ValueError: one line for each thing that is wrong, naming the file, the kind and the field.
    """
    kinds = {DEFAULT_KIND: default}
    wrong: list[str] = []
    for name, table in _tables(path).items():
        try:
            kinds[name] = _kind(name, table, default)
        except ValueError as error:
            wrong += [f"[{name}] {line}" for line in str(error).splitlines()]
    if wrong:
        raise ValueError("\n".join(f"AGENTS_FILE: {path}: {line}" for line in wrong))
    return kinds


def _tables(path: Path | None) -> Mapping[str, Any]:
    if path is None:
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        reason = f"cannot be read ({error.strerror}): make it readable, or leave AGENTS_FILE empty"
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        reason = f"is no TOML: {error}"
    raise ValueError(f"AGENTS_FILE: {path} {reason}")


def _kind(name: str, table: object, default: AgentKind) -> AgentKind:
    if not re.fullmatch(KIND_PATTERN, name):
        raise ValueError(f"the name of a kind should be {NAME_WORDS}")
    if not isinstance(table, dict):
        raise ValueError("should be a table: write its fields below its name in brackets")  # noqa: TRY004 - as the others
    try:
        entry = _Entry.model_validate(table)
    except ValidationError as error:
        raise ValueError("\n".join(map(_line, error.errors(include_url=False, include_input=False)))) from None
    is_default = name == DEFAULT_KIND
    if entry.agent is None and not is_default:
        raise ValueError(f"agent: is not set; it should be {CALLABLE_WORDS}")
    floor = entry.floor if entry.floor is not None else default.floor if is_default else 0
    if entry.max is not None and floor > entry.max:
        raise ValueError(f"floor: should be at most its max ({entry.max}), not {floor}")
    return AgentKind(name, entry.agent or default.agent, floor, entry.max, entry.memory_mb or default.memory_mb)


def _line(item: Mapping[str, Any]) -> str:
    field = str(item["loc"][0])
    if field not in FIELD_WORDS:
        return f"{field}: is no field of a kind; these are {', '.join(FIELD_WORDS)}"
    return f"{field}: should be {FIELD_WORDS[field]}"
