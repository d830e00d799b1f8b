"""Every target that is promised is there."""

from __future__ import annotations

import re
import subprocess
from itertools import chain
from pathlib import Path

TOP = Path(__file__).parents[2]
MAKEFILE = (TOP / "Makefile").read_text()
TARGETS = set(re.findall(r"^([a-z-]+):.*## ", MAKEFILE, re.MULTILINE))
DOCUMENTS = [TOP / "README.md", TOP / "CHANGELOG.md", *(TOP / "docs").rglob("*.md")]


def test_what_is_no_file_is_a_target() -> None:
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert set(phony.split()) == TARGETS


def test_help_lists_each() -> None:
    listed = subprocess.run(["make", "help"], cwd=TOP, capture_output=True, text=True, check=True).stdout
    assert set(re.findall(r"^  make ([a-z-]+)", listed, re.MULTILINE)) == TARGETS


def test_documents_name_targets_that_there_are() -> None:
    named = set(chain.from_iterable(re.findall(r"`make ([a-z-]+)", path.read_text()) for path in DOCUMENTS))
    assert {"run", "test", "chaos", "image-test"} <= named <= TARGETS
