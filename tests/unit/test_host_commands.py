"""What a host makes of the commands in its stream, also of what cannot be one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from contract.messages import Assigned, Assignment
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.host import commands as module
from orchestrator.host.agent_files import AgentFiles
from orchestrator.host.commands import Commands
from orchestrator.records import HostReply
from tests.support.records import warm_id

ASSIGN = {
    "type": "assign", "session": warm_id(1), "fence": "7", "reply": "r1", "assignment": json.dumps({"user_id": "ann"}),
}  # fmt: skip


@dataclass
class Told:
    """The host's agents, its zygotes and the store, as far as commands reach; it notes what is asked of it."""

    is_away: bool = False
    assigned: list[Assignment] = field(default_factory=list)
    ended: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, HostReply] = field(default_factory=dict)
    loaded: list[str] = field(default_factory=list)
    beats: int = 0
    stream: list[tuple[str, dict[str, str]] | None] = field(default_factory=list)
    """What each look at the stream finds; None where the store is away just then."""
    looked_after: list[str] = field(default_factory=list)
    tasks: list[asyncio.Future[object]] = field(default_factory=list)
    is_read: asyncio.Event = field(default_factory=asyncio.Event)

    async def position(self, _: float) -> str:
        return "0-0"

    async def commands(self, _: str, after: str, __: int) -> list[tuple[str, dict[str, str]]]:
        self.looked_after.append(after)
        if not self.stream:
            self.is_read.set()
            await asyncio.Event().wait()
        found = self.stream.pop(0)
        if found is None:
            raise StoreUnavailableError
        return [found]

    async def assign(self, assignment: Assignment) -> Assigned:
        self.assigned.append(assignment)
        return Assigned(fence=assignment.fence, accepted=True)

    def get(self, session_id: str) -> str | None:
        return session_id if session_id == warm_id(1) else None

    async def end(self, agent: str, reason: str) -> None:
        self.ended.append((agent, reason))

    async def answer(self, reply: str, answer: HostReply) -> None:
        if self.is_away:
            raise StoreUnavailableError
        self.answers[reply] = answer

    async def follow(self, rollout: str) -> bool:
        self.loaded.append(rollout)
        return self.loaded.count(rollout) == 1

    async def beat(self) -> None:
        self.beats += 1

    def background(self, coroutine: Coroutine[Any, Any, object]) -> object:
        self.tasks.append(asyncio.ensure_future(coroutine))
        return self.tasks[-1]


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def commands(told: Told, tmp_path: Path) -> Commands:
    everything: Any = told
    files = AgentFiles(tmp_path / "host", log_max_bytes=10_000)
    return Commands(
        "h1", everything, everything, files, everything, told.background, beat=told.beat,
        secrets=lambda: ["hidden-1234"],
    )  # fmt: skip


async def test_nothing_is_read_until_the_store_heard_this_daemon(commands: Commands, told: Told) -> None:
    """They may be another daemon's."""
    entered = asyncio.Event()
    listening = asyncio.ensure_future(commands.listen(entered))
    for _ in range(20):
        await asyncio.sleep(0)
    assert told.looked_after == []
    entered.set()
    async with asyncio.timeout(10):
        await told.is_read.wait()
    assert told.looked_after == ["0-0"]
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)


async def test_each_command_is_done_once_also_when_the_store_was_away_in_between(
    commands: Commands, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STORE_RETRY_S", 0.0)
    told.stream = [("1-0", {"type": "look"}), None, ("2-0", {"type": "load", "rollout": "r-1"})]
    entered = asyncio.Event()
    entered.set()
    listening = asyncio.ensure_future(commands.listen(entered))
    async with asyncio.timeout(20):
        await told.is_read.wait()
    await asyncio.gather(*told.tasks)
    listening.cancel()
    await asyncio.gather(listening, return_exceptions=True)
    assert told.looked_after == ["0-0", "1-0", "1-0", "2-0"], "it goes on where it was"
    assert (told.beats, told.loaded) == (2, ["r-1"])


async def test_an_agent_is_assigned_and_the_claim_answered(commands: Commands, told: Told) -> None:
    await commands.obey(ASSIGN)
    assert told.assigned == [Assignment(session_id=warm_id(1), fence=7, user_id="ann")]
    assert told.answers["r1"].ok


async def test_an_agent_is_ended_and_one_that_is_gone_is_not(commands: Commands, told: Told) -> None:
    for session_id in (warm_id(1), warm_id(2)):
        await commands.obey({"type": "end", "session": session_id, "reason": "ended by its user"})
    assert told.ended == [(warm_id(1), "ended by its user")]


async def test_an_agents_log_shows_no_secret(commands: Commands, told: Told, tmp_path: Path) -> None:
    files = AgentFiles(tmp_path / "host", log_max_bytes=10_000)
    files.prepare(warm_id(1))
    files.log_path(warm_id(1)).write_text('{"event": "said hidden-1234"}\n')
    await commands.obey({"type": "logs", "session": warm_id(1), "limit": "5", "reply": "r2"})
    data = told.answers["r2"].data
    assert data is not None
    assert "said" in str(data["lines"])
    assert "hidden-1234" not in str(data["lines"])


async def test_code_that_was_loaded_is_told_of_once(commands: Commands, told: Told) -> None:
    for _ in range(2):
        await commands.obey({"type": "load", "rollout": "r-1"})
    assert told.beats == 1


async def test_a_look_is_a_heartbeat(commands: Commands, told: Told) -> None:
    await commands.obey({"type": "look"})
    assert told.beats == 1


@pytest.mark.parametrize(
    "command",
    [
        {},
        {"type": "dance"},
        {"type": "end"},
        {"type": "load"},
        {"type": "logs", "session": warm_id(1), "limit": "many", "reply": "r"},
        {**ASSIGN, "fence": "seven"},
        {**ASSIGN, "assignment": "{"},
        {**ASSIGN, "assignment": "[]"},
        {**ASSIGN, "assignment": '{"user_id": 7}'},
        {**ASSIGN, "assignment": '{"nobody_knows": 1}'},
        {**ASSIGN, "assignment": "[" * 100_000},
    ],
)  # fmt: skip
async def test_what_is_no_command_is_told_of_and_left(commands: Commands, told: Told, command: dict[str, str]) -> None:
    with capture_logs() as lines:
        await commands.obey(command)
    assert [line["log_level"] for line in lines] == ["warning"]
    assert (told.assigned, told.ended, told.answers, told.beats) == ([], [], {}, 0)


async def test_an_answer_that_the_store_does_not_take_is_told_of(commands: Commands, told: Told) -> None:
    told.is_away = True
    with capture_logs() as lines:
        await commands.obey(ASSIGN)
    assert [line["event"] for line in lines] == ["command not answered: the store is away"]
