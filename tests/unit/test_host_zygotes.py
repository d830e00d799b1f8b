"""The zygotes of one host, a kind of agent each, over small stand-ins: one that is broken does not touch the others."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from contract.messages import AgentLimits, Fork
from orchestrator.host import zygote as module
from orchestrator.host.zygote import ZygoteCommand, ZygoteUnavailableError
from orchestrator.host.zygotes import KindUnknownError, Zygotes, of_kinds
from tests.support.records import warm_id

PATIENCE_S = 30.0
FAKE = """
import argparse, json, os, socket, sys
options = argparse.ArgumentParser()
for name in ("--fd", "--home", "--agent"):
    options.add_argument(name)
given = options.parse_args()
host = socket.socket(fileno=int(given.fd))
def say(**message):
    host.sendall(json.dumps({"v": 1, **message}).encode() + b"\\n")
if given.agent.startswith("broken"):
    say(type="zygote_failed", reason=f"no module named {given.agent}")
    sys.exit(1)
say(type="zygote_ready", pid=os.getpid(), preload_s=0.0)
number = int(given.agent.partition(":")[2][1:])  # what it "loaded" shows in the PIDs that it tells
for line in host.makefile():
    request = json.loads(line)
    say(type="forked", session_id=request["session_id"], pid=number, start_ticks=request["limits"]["memory_mb"])
"""


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, ZygoteCommand]]:
    monkeypatch.setattr(module, "RESTART_S", (0.01,))
    (tmp_path / "fake_zygote.py").write_text(FAKE)
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def made(**agents: str) -> dict[str, ZygoteCommand]:
        plain = ZygoteCommand("fake_zygote", "", environment, home="h")
        return {kind: replace(plain, agent=agent, kind=kind) for kind, agent in agents.items()}

    return made


@asynccontextmanager
async def running(commands: Mapping[str, ZygoteCommand]) -> AsyncIterator[Zygotes]:
    zygotes = Zygotes(commands, lambda *_: None, lambda: None)
    task = asyncio.create_task(zygotes.run())
    try:
        yield zygotes
        assert not task.done(), "it keeps them running, whatever they do"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def status(zygotes: Zygotes, kind: str, begins: str) -> str:
    async with asyncio.timeout(PATIENCE_S):
        while not zygotes.statuses[kind].startswith(begins):
            await asyncio.sleep(0.005)
    return zygotes.statuses[kind]


async def forked(zygotes: Zygotes, kind: str | None) -> tuple[int | None, int | None]:
    request = Fork(
        session_id=warm_id(1), requested_at=1.0, livekit_url="ws://127.0.0.1:1",
        host_socket="s", log_path="l", last_word_path="w", limits=AgentLimits(), kind=kind,
    )  # fmt: skip
    answer, generation = await zygotes.fork(request, PATIENCE_S)
    assert generation == zygotes.generations[kind or "default"]
    return answer.pid, answer.start_ticks


async def test_each_kind_is_forked_by_its_own_zygote_within_its_own_limits(commands) -> None:
    served = commands(default="a:x7", support="b:x8")
    served["support"] = replace(served["support"], memory_mb=300)
    async with running(served) as zygotes:
        assert [await forked(zygotes, kind) for kind in (None, "default", "support")] == [
            (7, 2048),
            (7, 2048),
            (8, 300),
        ]
        assert (zygotes.status, zygotes.kinds) == ("ready", ["default", "support"])
        assert (zygotes.memory_mb("support"), zygotes.memory_mb("sales")) == (300, None)
        with pytest.raises(KindUnknownError, match=r"no agents of the kind sales \(see AGENT_FILTER\)"):
            await forked(zygotes, "sales")


async def test_a_broken_kind_is_said_and_leaves_the_others(commands) -> None:
    async with running(commands(default="a:x7", support="broken:x")) as zygotes:
        await status(zygotes, "default", "ready")
        why = await status(zygotes, "support", "failed")
        assert why == "failed: no module named broken:x"
        assert zygotes.status == f"support {why}"
        assert await forked(zygotes, None) == (7, 2048)
        with pytest.raises(ZygoteUnavailableError, match="no module named broken:x"):
            await forked(zygotes, "support")
        said = of_kinds(zygotes)
        assert (said["kinds"], said["ready_kinds"], said["generations"]) == ("default,support", "default", "")


async def test_a_rollout_takes_up_a_kind_that_is_new_and_one_that_was_mended(commands) -> None:
    async with running(commands(default="a:x7", support="broken:x")) as zygotes:
        await status(zygotes, "default", "ready")
        await status(zygotes, "support", "failed")
        before = zygotes.generations["default"]
        await zygotes.renew(commands(default="a:x9", support="b:x8", sales="c:x5"), PATIENCE_S)
        for kind in ("default", "support", "sales"):
            await status(zygotes, kind, "ready")
        assert [await forked(zygotes, kind) for kind in (None, "support", "sales")] == [(9, 2048), (8, 2048), (5, 2048)]
        assert zygotes.generations["default"] != before
        assert f"sales:{zygotes.generations['sales']}" in of_kinds(zygotes)["generations"]


async def test_secrets_of_an_earlier_rollout_are_still_known(commands) -> None:
    def with_key(key: str) -> dict[str, ZygoteCommand]:
        made = commands(default="a:x7")
        return {kind: replace(each, environment={**each.environment, "MY_API_KEY": key}) for kind, each in made.items()}

    async with running(with_key("key-of-before")) as zygotes:
        await status(zygotes, "default", "ready")
        await zygotes.renew(with_key("key-of-now"), PATIENCE_S)
        assert {"key-of-before", "key-of-now"} <= zygotes.secrets


async def test_one_that_cannot_be_loaded_any_more_stops_a_rollout_for_all(commands) -> None:
    async with running(commands(default="a:x7", support="b:x8")) as zygotes:
        for kind in zygotes.kinds:
            await status(zygotes, kind, "ready")
        before = zygotes.generations
        with pytest.raises(ZygoteUnavailableError, match=r"^support: no module named broken:x$"):
            await zygotes.renew(commands(default="a:x9", support="broken:x", sales="c:x5"), PATIENCE_S)
        assert (zygotes.generations, zygotes.kinds) == (before, ["default", "support"])
        assert [await forked(zygotes, kind) for kind in (None, "support")] == [(7, 2048), (8, 2048)]


async def test_one_that_had_failed_before_stops_no_rollout(commands) -> None:
    async with running(commands(default="a:x7", support="broken:x")) as zygotes:
        await status(zygotes, "default", "ready")
        await status(zygotes, "support", "failed")
        await zygotes.renew(commands(default="a:x9", support="broken:y"), PATIENCE_S)
        await status(zygotes, "default", "ready")
        assert await forked(zygotes, None) == (9, 2048)
        assert zygotes.statuses["support"].startswith("failed")


async def test_where_nothing_can_be_loaded_a_rollout_has_failed(commands) -> None:
    async with running(commands(default="broken:x")) as zygotes:
        await status(zygotes, "default", "failed")
        with pytest.raises(ZygoteUnavailableError, match=r"^no module named broken:y$"):
            await zygotes.renew(commands(default="broken:y"), PATIENCE_S)
