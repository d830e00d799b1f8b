"""What a zygote is started with at a rollout: what .env says now, and nothing that was set otherwise."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import pytest
from pydantic import SecretStr

from orchestrator.host.renewal import Renewal, ZygoteSource
from orchestrator.host.zygote import ZygoteCommand, ZygoteUnavailableError
from orchestrator.host.zygotes import Zygotes
from orchestrator.settings import Settings


@pytest.fixture
def dotenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Read when the host started, and part of its environment, but for what was set before."""
    path = tmp_path / ".env"
    path.write_text("GROQ_API_KEY=first\nAGENT_VOICE=low\nAGENT_GREETING=hello\n")
    monkeypatch.setattr(
        os, "environ", {"PATH": "/bin", "GROQ_API_KEY": "first", "AGENT_VOICE": "set", "AGENT_GREETING": "hello"}
    )
    return path


def source(dotenv: Path) -> ZygoteSource:
    settings = Settings(livekit_api_key="key", livekit_api_secret=SecretStr("s" * 32), prewarm_pool_size=0)
    return ZygoteSource(settings, None, dotenv)


def test_without_a_change_it_is_as_at_the_start(dotenv: Path) -> None:
    command = source(dotenv).commands()["default"]
    assert (command.module, command.agent) == ("agent.zygote", "agent.assistant:assistant")
    given = {name: command.environment.get(name) for name in ("PATH", "GROQ_API_KEY", "AGENT_VOICE", "AGENT_GREETING")}
    assert given == {"PATH": "/bin", "GROQ_API_KEY": "first", "AGENT_VOICE": "set", "AGENT_GREETING": "hello"}


def test_what_the_file_said_it_says_anew(dotenv: Path) -> None:
    changing = source(dotenv)
    dotenv.write_text("GROQ_API_KEY=second\nAGENT_VOICE=high\nAGENT_NEW=1\nAGENT=mine:make\nADMIN_TOKEN=secret\n")
    command = changing.commands()["default"]
    assert command.agent == "mine:make"
    assert command.environment["GROQ_API_KEY"] == "second"
    assert command.environment["AGENT_VOICE"] == "set", "the environment goes first"
    assert command.environment["AGENT_NEW"] == "1"
    assert "AGENT_GREETING" not in command.environment, "it is not in the file any more"
    assert "ADMIN_TOKEN" not in command.environment


def test_a_file_that_cannot_be_read_changes_nothing(dotenv: Path) -> None:
    changing = source(dotenv)
    dotenv.write_bytes(b"\xff\xfe=\n")
    assert changing.commands()["default"].environment["GROQ_API_KEY"] == "first"
    dotenv.unlink()
    dotenv.mkdir()
    assert changing.commands()["default"].environment["AGENT_GREETING"] == "hello"


class FakeZygotes:
    def __init__(self, *errors: str | None) -> None:
        self.errors = list(errors)
        self.commands: list[Mapping[str, ZygoteCommand]] = []

    async def renew(self, commands: Mapping[str, ZygoteCommand], timeout_s: float) -> None:
        self.commands.append(commands)
        await asyncio.sleep(0)
        error = self.errors.pop(0)
        if error:
            raise ZygoteUnavailableError(error)


async def test_one_rollout_is_followed_once_however_often_it_is_told(dotenv: Path) -> None:
    zygote = FakeZygotes(None, None)
    renewal = Renewal(cast("Zygotes", zygote), source(dotenv))
    assert await asyncio.gather(*(renewal.follow("a") for _ in range(3))) == [True, False, False]
    assert (renewal.rollout, renewal.error, len(zygote.commands)) == ("a", "", 1)
    assert await renewal.follow("b")


async def test_why_it_could_not_be_loaded_is_said_until_the_next_one(dotenv: Path) -> None:
    renewal = Renewal(cast("Zygotes", FakeZygotes("no such module", None)), source(dotenv))
    await renewal.follow("a")
    assert (renewal.rollout, renewal.error) == ("a", "no such module")
    await renewal.follow("b")
    assert (renewal.rollout, renewal.error) == ("b", "")
