"""Any environment gives settings, or words that name what is wrong in it; a program that starts with it says so.

What a secret is, is never told.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.settings import AgentSettings
from agent.settings import SettingsError as AgentSettingsError
from agent.settings import load_settings as load_agent_settings
from orchestrator.cli.console import CommandError
from orchestrator.cli.environment import read_dotenv
from orchestrator.settings import Settings, SettingsError, load_settings

TOP = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
REQUIRED = {"LIVEKIT_API_KEY": "key", "LIVEKIT_API_SECRET": "s" * 32}
NAMES = sorted({name.upper() for name in Settings.model_fields} | {"RAILWAY_REPLICA_ID"})
AGENT_NAMES = sorted(name.upper() for name in AgentSettings.model_fields)
STARTS_IN_S = 60.0

plausible = st.sampled_from(
    [
        "", " ", "0", "-1", "1", "65536", "1e3", "nan", "inf", "-inf", "9" * 400, "true", "maybe", "null", "[]", "{}",
        "redis://", "redis://[::1", "redis://h:x/0", "redis://h:99999", "redis://:p@ss/w@h:1", "redis://h/abc",
        "unix:///tmp/s", "wss://x y", "ws://h:99999", "https://", "a:b", "a.b:c", ":", "x:", "20/minute", "0/minute",
        "1/fortnight", "10.0.0.0/8", "10.0.0.0/64", "::/0,", ",,,", "é" * 40, "x" * 200, "\udcff", "\x07",
        "info", "json",
    ]
)  # fmt: skip
values = plausible | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@contextmanager
def environment(given: dict[str, str]) -> Iterator[None]:
    """Only this, of all settings."""
    kept = dict(os.environ)
    for name in [*NAMES, *AGENT_NAMES]:
        os.environ.pop(name, None)
    os.environ.update(given)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def names_one(words: str, given: dict[str, str]) -> bool:
    """Each line begins with a setting's name, or has names of those that do not go together."""
    known = {*NAMES, *REQUIRED}
    return all(any(name in line for name in known) for line in words.splitlines()) and bool(words or not given)


@settings(max_examples=500)
@given(st.dictionaries(st.sampled_from(NAMES), values, min_size=1, max_size=6))
def test_any_environment_gives_settings_or_words(given: dict[str, str]) -> None:
    words = None
    with environment(REQUIRED | given):
        try:
            read = load_settings()
        except SettingsError as error:
            words = str(error)
        else:
            assert read.host_socket.is_absolute()
            assert read.agent_limits.frozen_s > 0
    if words is not None:
        assert names_one(words, given), words


@settings(max_examples=200)
@given(st.sampled_from(["LIVEKIT_API_SECRET", "ADMIN_TOKEN", "API_KEYS", "JWT_SECRET", "REDIS_URL"]), st.data())
def test_no_words_have_a_secret_in_them(name: str, data: st.DataObject) -> None:
    secret = "hidden-" + data.draw(st.text("abc09/:@[]%?#\u2100\uff0f", max_size=20))
    value = f"redis://:{secret}@127.0.0.1:1/0" if name == "REDIS_URL" else secret
    with environment(REQUIRED | {name: value}):
        try:
            told = repr(load_settings().redis_url == value)
        except SettingsError as error:
            told = str(error)
    assert "hidden" not in told


@given(st.dictionaries(st.sampled_from(AGENT_NAMES), values, max_size=4))
def test_any_environment_gives_an_agents_settings_or_words(given: dict[str, str]) -> None:
    with environment(given):
        load_agent_settings.cache_clear()
        try:
            load_agent_settings()
        except AgentSettingsError as error:
            words = str(error)
        else:
            words = next(iter(AGENT_NAMES))
        finally:
            load_agent_settings.cache_clear()
    assert any(name in words for name in AGENT_NAMES)
    assert "\n" not in words


@given(st.binary(max_size=200))
def test_any_dotenv_is_read_or_refused_in_words(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, ".env")
        path.write_bytes(content)
        try:
            assert all(read_dotenv(path))
        except CommandError as error:
            words = str(error)
        else:
            words = ".env"
    assert ".env" in words


PROGRAMS = {
    "greenroom run": [str(BIN / "greenroom"), "run"],
    "greenroom status": [str(BIN / "greenroom"), "status"],
    "celery": [str(BIN / "celery"), "-q", "-A", "orchestrator.tasks:app", "worker"],
    "uvicorn": [str(BIN / "uvicorn"), "--factory", "orchestrator.api.app:create_app"],
    "api": [sys.executable, "-m", "orchestrator.api"],
    "host": [sys.executable, "-m", "orchestrator.host"],
}
WRONG = {"PORT": "eighty", "REDIS_URL": "redis://:hidden-pass/word@127.0.0.1:1/0", "ADMIN_TOKEN": "hidden"}


@pytest.mark.parametrize(
    ("program", "name"),
    # `greenroom status` asks the API, and needs neither.
    [(p, n) for p in PROGRAMS for n in WRONG if p != "greenroom status" or n == "PORT"],
)
def test_a_program_with_a_wrong_setting_says_so_and_ends(program: str, name: str, tmp_path: Path) -> None:
    with environment({}):
        clean = dict(os.environ)
    given = clean | REQUIRED | {"GREENROOM_HOME": str(tmp_path), name: WRONG[name], "PYTHONPATH": str(TOP)}
    done = subprocess.run(
        PROGRAMS[program], env=given, cwd=tmp_path, capture_output=True, text=True, timeout=STARTS_IN_S, check=False,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    said = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    assert done.returncode != 0
    assert "Traceback" not in done.stdout + done.stderr
    [told] = [line for line in said if name in line]
    assert told.startswith("greenroom")
    assert "hidden" not in done.stdout + done.stderr
