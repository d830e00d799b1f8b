from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
import typer
from rich.console import Console
from typer.testing import CliRunner, Result

from orchestrator.cli import client, console, pool_commands
from orchestrator.cli.client import AdminClient, find_api
from orchestrator.cli.console import CommandError

ID = "prewarm_00000000000000000000000000000000"
HEALTH = {"success": True, "status": "healthy", "reason": None}
POOL = {
    "success": True, "target": 3, "floor": 2, "reason": "floor 2 + 1 for 4.0 starts a minute, an agent taking 15 s",
    "ready": 2, "starting": 1, "converged": False, "waiting": 0, "max": 50,
}  # fmt: skip
HOST = {
    "host": "h1", "alive": True, "draining": False, "heartbeatAgeS": 0.4, "agents": 2, "warm": 2, "capacity": 50,
    "capacityReason": "MAX_BOTS is 50",
    "agentPrivateBytes": 11_000_000, "memoryAvailableBytes": 12 << 30, "zygote": "ready",
}  # fmt: skip
SESSION = {
    "sessionId": ID, "status": "ready", "userId": "[bold]ada", "createdAt": 1.0, "startupTime": 0.12, "host": "h1",
    "agentPid": 42, "error": None, "endReason": None,
}  # fmt: skip


class FakeApi:
    """Answers by method and path; the last of several answers stays."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: dict[tuple[str, str], list[tuple[int, Any]]] = {
            ("GET", "/api/health"): [(200, HEALTH)],
            ("GET", "/api/pool"): [(200, POOL)],
            ("GET", "/api/hosts"): [(200, {"success": True, "hosts": [HOST]})],
            ("GET", "/api/sessions"): [(200, {"success": True, "sessions": [SESSION], "cursor": None})],
        }

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answers = self.answers[request.method, request.url.path]
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        return httpx.Response(status, json=content)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> FakeApi:
    fake = FakeApi()
    transport = httpx.MockTransport(fake)
    monkeypatch.setattr(pool_commands, "find_api", lambda: AdminClient("http://api", "token", transport))
    monkeypatch.setattr(pool_commands, "sleep", lambda _s: None)
    monkeypatch.setattr(console, "out", Console(width=250, soft_wrap=True))
    return fake


def _run(command: Callable[..., None], *arguments: str) -> Result:
    app = typer.Typer()
    app.command()(command)
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> pytest.CaptureFixture[str]:
    return capsys


def _problem(code: str, status: int, detail: str = "Because.") -> tuple[int, Any]:
    return status, {"success": False, "code": code, "detail": detail, "status": status}


# --- status --------------------------------------------------------------------------------------------


def test_status_for_people(api: FakeApi, screen: pytest.CaptureFixture[str]) -> None:
    pool_commands.status()
    text = screen.readouterr().out
    assert "healthy" in text
    assert "2 of 3 ready, 1 starting" in text
    assert POOL["reason"] in text
    assert all(part in text for part in (ID, "h1", "MAX_BOTS is 50", "11.0 MB", "12.0 GiB", "[bold]ada", "0.12 s"))
    assert api.requests[0].headers["authorization"] == "Bearer token"


def test_status_has_a_row_for_each_of_several_kinds(api: FakeApi, screen: pytest.CaptureFixture[str]) -> None:
    one = {"target": 3, "floor": 3, "ready": 2, "starting": 1, "max": 50, "reason": "floor 3", "converged": False}
    two = {"target": 1, "floor": 1, "ready": 1, "starting": 0, "max": 7, "reason": "floor 1", "converged": True}
    pool = {**POOL, "agents": [{"agent": "default", **one}, {"agent": "support", **two}]}
    api.answers["GET", "/api/pool"] = [(200, pool)]
    pool_commands.status()
    rows = [" ".join(line.split()) for line in screen.readouterr().out.splitlines()]
    assert "default 2 of 3 1 50 on its way floor 3" in rows
    assert "support 1 of 1 0 7 converged floor 1" in rows


def test_status_says_that_it_is_degraded(api: FakeApi, screen: pytest.CaptureFixture[str]) -> None:
    said = {"success": True, "status": "degraded", "reason": "spawns: they have failed for 9 s"}
    api.answers["GET", "/api/health"] = [(200, said)]
    pool_commands.status()
    assert "degraded: spawns: they have failed for 9 s" in screen.readouterr().out


def test_status_says_what_is_wrong(api: FakeApi, screen: pytest.CaptureFixture[str]) -> None:
    api.answers["GET", "/api/health"] = [(503, {"success": False, "status": "unhealthy", "reason": "beat: late"})]
    api.answers["GET", "/api/hosts"] = [(200, {"success": True, "hosts": []})]
    api.answers["GET", "/api/sessions"] = [(200, {"success": True, "sessions": []})]
    pool_commands.status()
    text = screen.readouterr().out
    assert "unhealthy: beat: late" in text
    assert "no host has reported" in text
    assert "no session yet" in text


def test_status_for_programs(api: FakeApi) -> None:
    result = _run(pool_commands.status, "--json")
    content = json.loads(result.output)
    assert content["pool"] == {name: value for name, value in POOL.items() if name != "success"}
    assert (content["hosts"], content["sessions"]) == ([HOST], [SESSION])
    assert content["health"]["status"] == "healthy"


def test_watching_goes_on_until_interrupted(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = 0

    def interrupted(_s: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(pool_commands, "sleep", interrupted)
    result = _run(pool_commands.status, "--json", "--watch")
    assert result.exit_code == 0
    assert len(result.output.splitlines()) == 3


# --- resize and end ------------------------------------------------------------------------------------


def test_resize(api: FakeApi, screen: pytest.CaptureFixture[str]) -> None:
    api.answers["POST", "/api/pool/resize"] = [(200, {"size": 5, "previous": 3})]
    pool_commands.resize(5)
    assert json.loads(api.requests[0].content) == {"size": 5}
    assert "from 3 to 5" in screen.readouterr().out


def test_resizing_one_kind(api: FakeApi, screen: pytest.CaptureFixture[str]) -> None:
    api.answers["POST", "/api/pool/resize"] = [(200, {"size": 5, "previous": 3})]
    pool_commands.resize(5, agent="support")
    assert json.loads(api.requests[0].content) == {"size": 5, "agent": "support"}
    assert "the pool of support moves from 3 to 5" in screen.readouterr().out


@pytest.mark.parametrize(("changed", "words"), [(True, "has ended"), (False, "was over before")])
def test_end(api: FakeApi, screen: pytest.CaptureFixture[str], changed: bool, words: str) -> None:
    api.answers["DELETE", f"/api/session/{ID}"] = [(200, {"status": "ended", "changed": changed})]
    pool_commands.end(ID)
    assert f"{ID} {words}" in screen.readouterr().out


@pytest.mark.parametrize("bad", ["../pool", "a/b", "", "x?y"])
def test_an_id_that_is_none_is_not_asked_for(api: FakeApi, bad: str) -> None:
    with pytest.raises(CommandError, match="no session id"):
        pool_commands.end(bad)
    assert api.requests == []


# --- logs ----------------------------------------------------------------------------------------------


def _lines(*numbers: int) -> tuple[int, Any]:
    return 200, {"lines": [{"event": f"line {n}", "level": "info", "n": n} for n in numbers]}


def test_logs(api: FakeApi) -> None:
    api.answers["GET", f"/api/session/{ID}/logs"] = [_lines(1, 2)]
    result = _run(pool_commands.logs, ID, "--limit", "2")
    assert result.output.splitlines() == ["info line 1 n=1", "info line 2 n=2"]
    assert api.requests[0].url.params["limit"] == "2"


def test_following_prints_each_line_once_and_ends_with_the_session(api: FakeApi) -> None:
    api.answers["GET", f"/api/session/{ID}/logs"] = [
        _lines(1, 2), _lines(1, 2), _lines(1, 2, 3), _lines(2, 3, 4), _lines(3, 4, 5),
    ]  # fmt: skip
    api.answers["GET", f"/api/session/{ID}"] = [(200, {"status": s}) for s in ("active", "active", "active", "ended")]
    result = _run(pool_commands.logs, ID, "--follow", "--json")
    assert [json.loads(line)["n"] for line in result.output.splitlines()] == [1, 2, 3, 4, 5]


# --- errors --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (_problem("unauthorized", 401), "unauthorized: Because. (set ADMIN_TOKEN"),
        (_problem("forbidden", 403), "forbidden: Because. (the API was started without ADMIN_TOKEN"),
        (_problem("invalid_request", 422, "size: no"), "invalid_request: size: no"),
        (_problem("store_unavailable", 503), "store_unavailable: Because."),
        ((200, ["something else"]), "is not Greenroom"),
    ],
)
def test_a_refusal_is_one_clear_line(api: FakeApi, answer: tuple[int, Any], words: str) -> None:
    api.answers["POST", "/api/pool/resize"] = [answer]
    with pytest.raises(CommandError) as caught:
        pool_commands.resize(5)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_api_that_is_away() -> None:
    def refuse(_request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with (
        AdminClient("http://127.0.0.1:1", None, httpx.MockTransport(refuse)) as api,
        pytest.raises(CommandError, match=r"the API does not answer at http://127\.0\.0\.1:1 \(refused\)"),
    ):
        api.get("/api/pool")


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({}, "http://127.0.0.1:8080"),
        ({"PORT": "9000", "BIND": "0.0.0.0"}, "http://127.0.0.1:9000"),
        ({"GREENROOM_URL": "https://green.example/"}, "https://green.example"),
    ],
)
def test_where_the_api_is(variables: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    (tmp_path / ".env").write_text("ADMIN_TOKEN=from-dotenv\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(client.os, "environ", dict(variables))
    with find_api() as api:
        assert api.url == url
        assert api._client.headers["authorization"] == "Bearer from-dotenv"
