"""``.env.example`` and the settings say the same."""

from __future__ import annotations

import re
from pathlib import Path

from agent.settings import AgentSettings
from orchestrator.settings import Settings

EXAMPLE = (Path(__file__).parents[2] / ".env.example").read_text()
OF_RUN = {"REDIS_PORT", "LIVEKIT_PORT"}
OF_AGENT = {name.upper() for name in AgentSettings.model_fields}
NAMES = re.findall(r"^([A-Z][A-Z0-9_]*)=", EXAMPLE, re.MULTILINE)


def test_every_setting_is_in_the_example_once() -> None:
    assert sorted(NAMES) == sorted(set(NAMES))
    assert ({name.upper() for name in Settings.model_fields} | OF_AGENT) - set(NAMES) == set()


def test_the_example_has_nothing_that_is_no_setting() -> None:
    known = {name.upper() for name in Settings.model_fields} | OF_RUN | OF_AGENT
    assert set(NAMES) - known == set()


def test_each_has_a_line_that_says_what_it_is() -> None:
    lines = EXAMPLE.splitlines()
    for number, line in enumerate(lines):
        if re.match(r"[A-Z]", line):
            assert lines[number - 1].startswith("# "), line


def test_its_values_are_the_defaults() -> None:
    given = dict(re.findall(r"^([A-Z][A-Z0-9_]*)=(.+)$", EXAMPLE, re.MULTILINE))
    values = {name.lower(): value for name, value in given.items() if name not in OF_RUN}
    secrets = {"livekit_api_key": "x", "livekit_api_secret": "x" * 32}
    assert Settings.model_validate(values | secrets) == Settings.model_validate(secrets)
