"""The file of kinds of agents, and what the settings make of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.adapters import celery_queue as q
from orchestrator.kinds import AgentKind
from orchestrator.settings import Settings, SettingsError, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agents.toml"


def read(file: Path | None, **settings: Any) -> Settings:
    given = {"livekit_api_key": "key", "livekit_api_secret": "s" * 32, "agents_file": file, **settings}
    return load_settings(**given)


def test_without_a_file_there_is_the_default_kind_alone() -> None:
    kinds = read(None, prewarm_pool_size=2, agent="mine:make", agent_memory_mb=512).kinds
    assert kinds.by_name == {"default": AgentKind("default", "mine:make", 2, None, 512)}
    assert (kinds.served, kinds.floors, kinds.most_of) == (("default",), {}, {})


def test_kinds_of_a_file(file: Path) -> None:
    file.write_text(
        '[support]\nagent = "mine:support"\nfloor = 2\nmax = 10\nmemory_mb = 512\n[sales-2]\nagent = "s:s"\n'
    )
    kinds = read(file).kinds
    assert list(kinds.by_name) == ["default", "support", "sales-2"]
    assert kinds.by_name["support"] == AgentKind("support", "mine:support", 2, 10, 512)
    assert kinds.by_name["sales-2"] == AgentKind("sales-2", "s:s", 0, None, 2048)
    assert kinds.served == ("default", "support", "sales-2")
    assert (kinds.default_floor, kinds.floors, kinds.most_of) == (3, {"support": 2, "sales-2": 0}, {"support": 10})


def test_the_file_changes_the_default_kind_and_leaves_its_module(file: Path) -> None:
    file.write_text("[default]\nfloor = 1\nmax = 5\n")
    assert read(file, agent="mine:make").kinds.by_name == {"default": AgentKind("default", "mine:make", 1, 5, 2048)}
    file.write_text('[default]\nagent = "other:make"\n')
    assert read(file, agent="mine:make").kinds.by_name["default"].agent == "other:make"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("x = [", "is no TOML: "),
        ("support = 1", "[support] should be a table"),
        (
            '[Support]\nagent = "a:b"',
            "[Support] the name of a kind should be 1 to 32 small letters, digits and hyphens",
        ),
        ('["a:b"]\nagent = "a:b"', "[a:b] the name of a kind should be "),
        ("[support]\nfloor = 1", "[support] agent: is not set; it should be a module, a colon and a callable in it"),
        ('[support]\nagent = "no module"', "[support] agent: should be a module, a colon and a callable in it"),
        ('[support]\nagent = "a:b"\nfloor = -1', "[support] floor: should be a whole number, 0 at least"),
        ('[support]\nagent = "a:b"\nfloor = "1"', "[support] floor: should be a whole number, 0 at least"),
        ('[support]\nagent = "a:b"\nmax = 0', "[support] max: should be a whole number, 1 at least"),
        ('[support]\nagent = "a:b"\nmemory_mb = 1', "[support] memory_mb: should be a whole number of megabytes"),
        ('[support]\nagent = "a:b"\nflor = 1', "[support] flor: is no field of a kind; these are agent, floor, max"),
        ('[support]\nagent = "a:b"\nfloor = 3\nmax = 2', "[support] floor: should be at most its max (2), not 3"),
    ],
)
def test_what_is_wrong_is_said_with_its_file_kind_and_field(file: Path, text: str, words: str) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read(file)
    said = str(caught.value)
    assert said.startswith(f"AGENTS_FILE: {file}")
    assert words in said


def test_each_thing_that_is_wrong_has_its_line(file: Path) -> None:
    file.write_text('[support]\nagent = "a"\nmax = 0\n[sales]\n')
    with pytest.raises(SettingsError) as caught:
        read(file)
    assert [line.split(" ", 3)[2:][0] for line in str(caught.value).splitlines()] == [
        "[support]",
        "[support]",
        "[sales]",
    ]


def test_a_file_that_cannot_be_read(file: Path) -> None:
    with pytest.raises(SettingsError, match=r"AGENTS_FILE: .* cannot be read \(No such file or directory\)"):
        read(file)
    file.write_bytes(b"\xff")
    with pytest.raises(SettingsError, match=r"AGENTS_FILE: .* is no TOML"):
        read(file)


def test_the_floors_fit_into_the_most(file: Path) -> None:
    file.write_text('[support]\nagent = "a:b"\nfloor = 8\n')
    assert read(file, max_bots=11).kinds.floors == {"support": 8}
    with pytest.raises(SettingsError, match=r"AGENTS_FILE: .* MAX_BOTS \(10\), not 11 \(default 3, support 8\)"):
        read(file, max_bots=10)


def test_a_machine_serves_what_its_filter_names(file: Path) -> None:
    file.write_text('[support]\nagent = "a:b"\n')
    assert read(file, agent_filter="support").kinds.served == ("support",)
    assert read(file, agent_filter=" support , default ").kinds.served == ("support", "default")
    with pytest.raises(SettingsError, match="AGENT_FILTER: there is no kind sales; there are default, support"):
        read(file, agent_filter="support,sales")


def test_a_worker_takes_what_users_wait_for_first_and_its_own_kinds_only() -> None:
    names = [queue.name for queue in q.consumed(("default", "support"), "voice-1")]
    assert names == [
        "urgent", "spawn", "spawn.support", "pool", "refill", "refill.support", "maintenance", "host.voice-1",
    ]  # fmt: skip
    assert [queue.name for queue in q.consumed(("support",), "h")] == [
        "urgent", "spawn.support", "pool", "refill.support", "maintenance", "host.h",
    ]  # fmt: skip
