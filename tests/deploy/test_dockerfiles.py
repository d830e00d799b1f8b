"""The Dockerfiles: what they copy of a clone can be read by the user that they run as, whoever made the clone."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import pytest

from tests.deploy.compose import TREE

SOURCES = PurePosixPath("/src")
"""The stages that build work there."""


@dataclass
class Stage:
    """One stage of a Dockerfile, by what it copies and what it then lets everybody read."""

    copied: list[tuple[str | None, PurePosixPath, PurePosixPath]] = field(default_factory=list)
    """The stage (None: the clone), the path there, and the path here."""
    readable: set[PurePosixPath] = field(default_factory=set)

    def lets_read(self, path: PurePosixPath) -> bool:
        return any(path.is_relative_to(each) for each in self.readable)


def instructions(name: str) -> Iterator[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", (TREE / name).read_text(), flags=re.MULTILINE).replace("\\\n", "")
    yield from re.findall(r"^([A-Z]+) +(.*)$", text, re.MULTILINE)


def stages(name: str) -> dict[str, Stage]:
    found: dict[str, Stage] = {}
    for instruction, words in instructions(name):
        if instruction == "FROM":
            found[words.split()[-1]] = stage = Stage()
        elif instruction == "COPY":
            come_from = re.match(r"--from=(\w+) ", words)
            *sources, target = words.removeprefix(come_from[0] if come_from else "").split()
            stage.readable.clear()
            for source in sources:
                stage.copied.append((come_from and come_from[1], SOURCES / source, PurePosixPath(target)))
        elif instruction == "RUN":
            for paths in re.findall(r"chmod -R a\+rX ([^;]+)", words):
                stage.readable |= {SOURCES / path for path in paths.split()}
    return found


@pytest.mark.parametrize("name", ["Dockerfile.orchestrator", "Dockerfile.frontend"])
def test_what_is_copied_can_be_read_whatever_its_modes_are(name: str) -> None:
    """COPY keeps them, and with a umask of 077 a clone is its owner's alone."""
    every = stages(name)
    last = every["runtime"]
    assert last.copied
    for stage, source, target in last.copied:
        is_readable = last.lets_read(target) or (stage is not None and every[stage].lets_read(source))
        assert is_readable, target
