from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.cli import checks
from orchestrator.host.machine import free_memory_bytes
from orchestrator.settings import Settings

SETTINGS = Settings(livekit_api_key="key", livekit_api_secret="s" * 32)


@pytest.mark.parametrize(("version", "state"), [("6.0.16", "bad"), ("6.2.0", "ok"), ("7.0.15", "ok"), ("10.0", "ok")])
def test_redis_has_to_be_new_enough(version: str, state: str) -> None:
    assert checks.judge_redis_version(version).state == state


@pytest.mark.parametrize(("policy", "state"), [("noeviction", "ok"), ("allkeys-lru", "bad")])
def test_redis_must_not_forget(policy: str, state: str) -> None:
    assert checks.judge_redis_policy(policy).state == state


@pytest.mark.parametrize(("free_mb", "state"), [(2000, "ok"), (1000, "bad")])
def test_memory_has_to_do_for_all_agents(free_mb: int, state: str) -> None:
    assert checks.check_memory(50, free_mb * 1024 * 1024)[0].state == state


def test_a_containers_limit_counts(tmp_path: Path) -> None:
    (tmp_path / "memory.max").write_text("1000000\n")
    (tmp_path / "memory.current").write_text("400000\n")
    assert free_memory_bytes(tmp_path) == 600_000
    (tmp_path / "memory.stat").write_text("anon 300000\ninactive_file 100000\n")
    assert free_memory_bytes(tmp_path) == 700_000
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory_bytes(tmp_path) > 1_000_000


def test_keys_are_looked_at_and_never_shown() -> None:
    environ = {"GROQ_API_KEY": "very-secret", "ASSEMBLY_API_KEY": ""}
    findings = checks.check_keys(SETTINGS, environ)
    assert {finding.what: finding.state for finding in findings} == {
        "ADMIN_TOKEN": "warn",
        "ASSEMBLY_API_KEY": "warn",
        "GROQ_API_KEY": "ok",
        "INWORLD_API_KEY": "warn",
    }
    assert "very-secret" not in repr(findings)


def test_without_keys_the_voice_is_a_demonstration() -> None:
    assert "offline demonstration" in checks.check_keys(SETTINGS, {})[-1].found
