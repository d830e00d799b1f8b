"""``greenroom drain`` and ``undrain``: which host, what is said, and how long one waits."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import typer

from orchestrator.cli import host_commands
from orchestrator.cli.client import AdminClient
from orchestrator.cli.console import CommandError


def _host(name: str = "h1", **fields: Any) -> dict[str, Any]:
    return {"host": name, "alive": True, "draining": True, "drained": False, "agents": 2, **fields}


class FakeApi:
    """Answers ``GET /api/hosts`` with these in turn (the last one stays), and every ``POST`` with a draining host."""

    def __init__(self) -> None:
        self.looks: list[list[dict[str, Any]]] = [[_host()]]
        self.posted: list[str] = []
        self.answer = _host()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.posted.append(request.url.path)
            return httpx.Response(200, json=self.answer)
        hosts = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        return httpx.Response(200, json={"success": True, "hosts": hosts})


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()
    monkeypatch.delenv("HOST_ID", raising=False)
    monkeypatch.setattr(host_commands, "find_api", lambda: AdminClient("http://api", "t", httpx.MockTransport(fake)))
    monkeypatch.setattr(host_commands, "sleep", lambda _s: None)
    return fake


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_host(), "h1 drains: 2 agents were on it"),
        (_host(drained=True), "h1 drains: nothing is left on it"),
        (_host(alive=False), "h1 drains: its daemon is away"),
    ],
)
def test_drain(api: FakeApi, capsys: pytest.CaptureFixture[str], answer: dict[str, Any], words: str) -> None:
    api.answer = answer
    host_commands.drain("h1")
    assert api.posted == ["/api/hosts/h1/drain"]
    assert words in capsys.readouterr().out


def test_undrain(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    host_commands.undrain("h1")
    assert api.posted == ["/api/hosts/h1/undrain"]
    assert "h1 takes sessions again" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("known", "own", "chosen"),
    [(["h1"], None, "h1"), (["h1"], "elsewhere", "h1"), (["h1", "h2"], "h2", "h2")],
)
def test_which_host_where_none_is_named(
    api: FakeApi, monkeypatch: pytest.MonkeyPatch, known: list[str], own: str | None, chosen: str
) -> None:
    api.looks = [[_host(name) for name in known]]
    if own:
        monkeypatch.setenv("HOST_ID", own)
    host_commands.undrain()
    assert api.posted == [f"/api/hosts/{chosen}/undrain"]


@pytest.mark.parametrize(("known", "words"), [(["h1", "h2"], "which host?.* h1, h2"), ([], "none has reported")])
def test_nobody_is_drained_by_guessing(api: FakeApi, known: list[str], words: str) -> None:
    api.looks = [[_host(name) for name in known]]
    with pytest.raises(CommandError, match=words):
        host_commands.drain()
    assert api.posted == []


@pytest.mark.parametrize("bad", ["../pool", "a/b", "", "x?y"])
def test_a_host_that_is_none(api: FakeApi, bad: str) -> None:
    with pytest.raises(CommandError, match="no host's id"):
        host_commands.drain(bad)
    assert api.posted == []


def test_waiting_ends_with_the_last_call(api: FakeApi, capsys: pytest.CaptureFixture[str]) -> None:
    api.looks = [[_host()], [_host(agents=1)], [_host(agents=0, drained=True)], []]
    host_commands.drain("h1", wait=True)
    assert "h1 is drained" in capsys.readouterr().out
    assert api.looks == [[]], "it looked until then, and no further"


def test_waiting_ends_when_somebody_puts_it_back(api: FakeApi) -> None:
    api.looks = [[_host()], [_host(draining=False)]]
    with pytest.raises(CommandError, match="does not drain any more"):
        host_commands.drain("h1", wait=True)


def test_waiting_can_be_given_up(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(_s: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(host_commands, "sleep", interrupted)
    with pytest.raises(typer.Exit):
        host_commands.drain("h1", wait=True)
