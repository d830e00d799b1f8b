"""``greenroom serve`` and ``greenroom healthy``: what a container runs, and how it says that it is well."""

from __future__ import annotations

import json
from configparser import RawConfigParser
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.cli import healthy, provision, serve
from orchestrator.cli.console import CommandError
from orchestrator.cli.home import Home
from orchestrator.cli.serve import Program
from orchestrator.settings import Settings

CONFIG = provision.config_source().read_text()
KEYS = {"livekit_api_key": "key", "livekit_api_secret": "s" * 32}


def settings(**changes: object) -> Settings:
    return Settings.model_validate(KEYS | changes)


def environment(tmp_path: Path) -> dict[str, str]:
    return provision.program_environment(Home(tmp_path), settings(host_id="h1", port=8080, bind="::"), {"PATH": "/bin"})


def test_all_is_every_program() -> None:
    assert serve.choose([Program.ALL]) == ["api", "worker", "beat", "host"]


def test_several_are_each_there_once() -> None:
    assert serve.choose([Program.HOST, Program.WORKER, Program.HOST]) == ["worker", "host"]


@pytest.mark.parametrize(
    ("chosen", "supervised"),
    [(["api"], False), (["worker"], False), (["beat"], False), (["host"], True), (["worker", "host"], True)],
)
def test_a_host_is_under_supervisord_by_itself_too(chosen: list[str], supervised: bool) -> None:
    assert serve.is_supervised(chosen) is supervised


def test_supervisord_is_given_the_chosen_programs_and_what_watches_them() -> None:
    text = serve.sections(CONFIG, ["worker", "host"])
    assert "[program:worker]" in text
    assert "[program:host]" in text
    assert "[program:api]" not in text
    assert "[program:beat]" not in text
    assert "[eventlistener:watch]" in text
    assert "[supervisord]" in text


def test_with_every_program_the_file_is_as_it_is() -> None:
    assert serve.sections(CONFIG, serve.choose([Program.ALL])) == CONFIG


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("api", ["-m", "orchestrator.api"]),
        ("worker", ["celery", "orchestrator.tasks:app", "worker"]),
        ("beat", ["celery", "beat"]),
    ],
)
def test_one_program_is_started_as_supervisord_would(tmp_path: Path, program: str, words: list[str]) -> None:
    argv = serve.command(CONFIG, program, environment(tmp_path))
    assert set(words) <= set(argv)
    assert not any("%(" in word for word in argv)


def test_a_program_without_a_command_is_named() -> None:
    with pytest.raises(CommandError, match="no command for api"):
        serve.command("[program:beat]\ncommand=x\n", "api", {})


def test_a_host_that_drains_may_take_as_long_as_its_calls() -> None:
    assert provision.host_stop_s(settings()) == 30
    assert provision.host_stop_s(settings(drain_on_term=True, drain_timeout_s=600.5)) == 631


# --- healthy ---------------------------------------------------------------------------------------------


def test_where_nothing_was_begun_nothing_is_well(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GREENROOM_HOME", str(tmp_path))
    monkeypatch.setenv("LIVEKIT_API_KEY", "key")
    monkeypatch.setenv("LIVEKIT_API_SECRET", "s" * 32)
    with pytest.raises(CommandError, match="has started nothing here"):
        healthy.healthy()


def test_a_beat_by_itself_is_well_while_its_container_lives(tmp_path: Path) -> None:
    assert list(healthy.problems(settings(greenroom_home=tmp_path), ["beat"], supervised=False)) == []


def test_an_api_that_does_not_answer_is_not_well(tmp_path: Path) -> None:
    found = list(healthy.problems(settings(greenroom_home=tmp_path, port=1), ["api"], supervised=False))
    assert found == ["the API does not answer at http://127.0.0.1:1/health/live"]


def test_a_supervisord_that_does_not_answer_is_named(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="supervisord does not answer"):
        list(healthy.problems(settings(greenroom_home=tmp_path), ["worker", "host"], supervised=True))


SEEN_TO_FAIL_S = 13
"""What a worker that fails at its start took for that, on two processors at a load of 12."""


@pytest.mark.parametrize("program", ["host", "worker", "beat", "api"])
def test_a_program_that_fails_slowly_is_given_up_too(program: str) -> None:
    """Once it counts as running, its next failure is the first one again."""
    parser = RawConfigParser(inline_comment_prefixes=(";",))
    parser.read_string(CONFIG)
    assert parser.getint(f"program:{program}", "startsecs") > SEEN_TO_FAIL_S


@pytest.mark.parametrize(
    ("state", "for_s", "wrong"),
    [
        ("RUNNING", 60, []),
        ("STARTING", 6, []),
        ("STARTING", 2, ["worker is starting"]),
        ("BACKOFF", 60, ["worker is backoff"]),
        ("FATAL", 60, ["worker is fatal"]),
    ],
)
def test_a_program_is_well_before_supervisord_counts_it_as_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: str, for_s: int, wrong: list[str]
) -> None:
    info = {"name": "worker", "statename": state, "start": 1000, "now": 1000 + for_s}
    rpc = SimpleNamespace(getState=lambda: {"statename": "RUNNING"}, getAllProcessInfo=lambda: [info])
    monkeypatch.setattr(healthy, "ServerProxy", lambda *_: SimpleNamespace(supervisor=rpc))
    assert list(healthy.problems(settings(greenroom_home=tmp_path), ["worker"], supervised=True)) == wrong


def test_what_was_begun_is_known_from_its_folder(tmp_path: Path) -> None:
    assert serve.served(tmp_path) is None
    (tmp_path / serve.SERVING).write_text(json.dumps({"programs": ["api"], "supervised": False}))
    assert serve.served(tmp_path) == (["api"], False)
