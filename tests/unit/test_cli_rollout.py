"""``greenroom rollout``: what it says while it goes on, and how it ends."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import typer

from orchestrator.cli import rollout as command
from orchestrator.cli.client import AdminClient
from orchestrator.cli.console import CommandError


def view(state: str = "running", detail: str = "", recycled: int = 0) -> dict[str, Any]:
    return {"id": "r", "state": state, "detail": detail, "recycled": recycled, "startedAt": 1.0, "endedAt": None}


class FakeApi:
    """Answers the POST with the first of these, and each GET with the next; the last one stays."""

    def __init__(self, *views: dict[str, Any] | None, began: bool = True) -> None:
        self.views = list(views)
        self.began = began
        self.looks = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.looks += request.method == "GET"
        found = self.views.pop(0) if len(self.views) > 1 else self.views[0]
        return httpx.Response(200, json={"success": True, "rollout": found, "began": self.began})


def run(monkeypatch: pytest.MonkeyPatch, api: FakeApi, *, wait: bool = True) -> None:
    monkeypatch.setattr(command, "find_api", lambda: AdminClient("http://api", "t", httpx.MockTransport(api)))
    monkeypatch.setattr(command, "sleep", lambda _s: None)
    command.rollout(wait=wait)


def test_each_step_is_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    waiting = view(detail="the pool has 2 of 3 agents")
    run(monkeypatch, FakeApi(view(detail="h1: loading"), waiting, waiting, view("done", "all new", 3)))
    out = capsys.readouterr().out
    assert [out.count(words) for words in ("the rollout begins", "h1: loading", "2 of 3")] == [1, 1, 1]
    assert "done: 3 agents recycled" in out


def test_a_failed_one_ends_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="h1: no such module"):
        run(monkeypatch, FakeApi(view(), view("failed", "h1: no such module")))


def test_it_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    api = FakeApi(view(), began=False)
    run(monkeypatch, api, wait=False)
    assert api.looks == 0
    assert "under way already" in capsys.readouterr().out


def test_a_redis_that_came_back_empty_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="came back empty"):
        run(monkeypatch, FakeApi(view(), None))


def test_ctrl_c_leaves_it_going_on(monkeypatch: pytest.MonkeyPatch) -> None:
    api = FakeApi(view())
    monkeypatch.setattr(command, "find_api", lambda: AdminClient("http://api", "t", httpx.MockTransport(api)))

    def interrupted(_s: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "sleep", interrupted)
    with pytest.raises(typer.Exit) as left:
        command.rollout()
    assert left.value.exit_code == 0
