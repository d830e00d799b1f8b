"""Every target that is promised is there."""

from __future__ import annotations

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest

from benchmarks import observe

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


def test_what_a_target_needs_from_the_system_is_looked_for_first() -> None:
    for target in ("test", "observe"):
        command = ["make", "--no-print-directory", "-n", target]  # as part of another make it would tell its folder
        words = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=True).stdout
        script = re.match(r"sh (scripts/test\.sh)", words)
        lines = (TOP / script[1]).read_text().splitlines() if script else words.splitlines()
        looks, sets_up = (
            next(number for number, line in enumerate(lines) if line.startswith(f"sh scripts/{name}.sh"))
            for name in ("packages", "setup")
        )
        assert looks < sets_up, target
        assert "prometheus" in lines[looks], target


@pytest.mark.parametrize(
    ("part", "there", "said"),
    [
        ("prometheus", ["prometheus", "promtool"], ""),
        ("prometheus", ["prometheus"], "Prometheus is missing: install it (Debian: apt-get install prometheus)"),
        ("alertmanager", ["prometheus-alertmanager"], ""),
        ("redis", [], "redis-server is missing: install it (Debian: apt-get install redis-server)"),
        ("nonsense", [], "scripts/packages.sh knows no nonsense"),
    ],
)
def test_what_is_missing_and_may_not_be_installed_is_told(
    tmp_path: Path, part: str, there: list[str], said: str
) -> None:
    for name in ("dirname", *there):
        (tmp_path / name).write_text("#!/bin/sh\necho scripts\n")
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    for program in tmp_path.iterdir():
        program.chmod(0o755)
    done = subprocess.run(
        ["/bin/sh", "scripts/packages.sh", part], cwd=TOP, env={"PATH": str(tmp_path)}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.stderr == (f"greenroom: {said}\n" if said else "")
    assert (done.returncode == 0) == (not said)


def test_nothing_is_started_to_be_watched_by_a_prometheus_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_: None)
    monkeypatch.setattr(observe, "running_system", lambda *_, **__: pytest.fail("a whole system was started"))
    monkeypatch.setattr(sys, "argv", ["observe"])
    assert observe.main() == 1
    assert "apt-get install prometheus" in capsys.readouterr().err
