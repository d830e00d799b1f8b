from __future__ import annotations

import io
import json
import os
import wave
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from orchestrator.adapters.livekit_client import Line
from orchestrator.adapters.speech import Pcm, WavError, read_wav, spoken, write_wav
from orchestrator.cli import talk
from orchestrator.cli.console import CommandError
from orchestrator.cli.main import app
from orchestrator.cli.talk_call import Room, typed_lines
from orchestrator.cli.talk_report import Report, Sentence, Timeline, Transcript
from orchestrator.cli.talk_session import CallerClient, find_api

JOIN = {"url": "ws://livekit", "token": "t0ken", "room": "r", "identity": "user-talk", "expiresAt": 0}
WARM = {"success": True, "sessionId": "prewarm_1", "status": "ready", "prewarmed": True, "join": JOIN}
COLD = {"success": True, "sessionId": "session_1", "status": "starting", "prewarmed": False}

Handler = Callable[[httpx.Request], httpx.Response]


def api(handler: Handler, key: str | None = None) -> CallerClient:
    return CallerClient("http://api", key, transport=httpx.MockTransport(handler))


def answering(status: int, content: Any, **headers: str) -> Handler:
    return lambda _: httpx.Response(status, json=content, headers=headers)


# --- the session -----------------------------------------------------------------------------------------


def test_a_warm_session_is_started_in_one_request() -> None:
    requests: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=WARM)

    started = api(handler, "k3y").start({"userId": "u", "userName": "u"})
    assert (started.session_id, started.prewarmed, started.room) == ("prewarm_1", True, Room("ws://livekit", "t0ken"))
    assert requests[0].headers["Authorization"] == "Bearer k3y"
    assert json.loads(requests[0].content) == {"userId": "u", "userName": "u"}


def test_a_cold_session_is_waited_for_and_joined_by_a_token() -> None:
    statuses = iter(["starting", "starting", "ready"])

    def handler(request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path:
            case "POST", "/api/session/start":
                return httpx.Response(202, json=COLD)
            case "GET", "/api/session/session_1":
                return httpx.Response(200, json={"status": next(statuses), "error": None})
            case "POST", "/api/token":
                return httpx.Response(200, json=JOIN)
        return httpx.Response(500)

    client = api(handler)
    started = client.start({"userId": "u", "userName": "u"})
    assert started.room is None
    client.wait_ready(started.session_id, 5)
    assert client.room(started.session_id, "u") == Room("ws://livekit", "t0ken")


def test_a_session_that_failed_says_why() -> None:
    handler = answering(200, {"status": "failed", "error": "spawn_failed: no host"})
    with pytest.raises(CommandError, match="session s: spawn_failed: no host"):
        api(handler).wait_ready("s", 5)


def test_a_session_that_never_is_ready_is_given_up() -> None:
    with pytest.raises(CommandError, match=r"not ready after 0\.1 s"):
        api(answering(200, {"status": "starting", "error": None})).wait_ready("s", 0.1)


@pytest.mark.parametrize(
    ("handler", "message"),
    [
        (
            answering(503, {"code": "at_capacity", "detail": "Full."}, **{"Retry-After": "7"}),
            r"at_capacity: Full\. \(try again in 7 s\)",
        ),
        (answering(401, {"code": "unauthorized", "detail": "Present a key."}), "unauthorized: .*API_KEYS.*--api-key"),
        (answering(502, "bad gateway"), "not Greenroom .status 502.: "),
        (lambda _: httpx.Response(404, text="not found"), "not Greenroom .status 404.: "),
        (lambda _: httpx.Response(200, text="<html>"), "not Greenroom .status 200.: "),
    ],
)
def test_each_refusal_is_one_clear_line(handler: Handler, message: str) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        api(handler).start({})
    assert "\n" not in str(caught.value)


def test_an_api_that_is_away_is_said_to_be() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    with pytest.raises(CommandError, match=r"the API does not answer at http://api \(refused\)"):
        api(refuse).start({})


def test_a_problem_without_words_is_told_by_its_status() -> None:
    with pytest.raises(CommandError, match="500: no detail"):
        api(answering(500, {})).start({})


def test_the_api_is_found_in_this_folders_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("API_KEYS", "PORT", "BIND"):
        monkeypatch.setenv(name, "")
    (tmp_path / ".env").write_text("API_KEYS=one,two\nPORT=1234\n")
    monkeypatch.chdir(tmp_path)
    with find_api(None, None) as found, find_api("http://there", "mine") as given:
        assert (found.url, _key(found)) == ("http://127.0.0.1:1234", "Bearer one")
        assert (given.url, _key(given)) == ("http://there", "Bearer mine")


def test_without_a_key_none_is_presented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEYS", "")
    monkeypatch.chdir(tmp_path)
    with find_api("http://there", None) as found:
        assert _key(found) is None


def _key(client: CallerClient) -> str | None:
    return client._client.headers.get("Authorization")


# --- the command -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--url", "http://127.0.0.1:1"], "the API does not answer at http://127.0.0.1:1"),
        (["--out", "/no/such/folder/x.wav"], "--out: there is no folder /no/such/folder"),
        (["--wav", "/no/such.wav"], "--wav: /no/such.wav cannot be read: No such file or directory"),
    ],
)
def test_what_is_wrong_ends_it_with_one_line(
    options: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["talk", *options], env={"GREENROOM_URL": "http://127.0.0.1:1"})
    assert result.exit_code == 1
    assert result.stderr.startswith(f"greenroom: {message}")
    assert result.stderr.count("\n") == 1


def test_only_what_is_given_is_in_the_request() -> None:
    assert talk._body("u", voice=None, agent=None) == {"userId": "u", "userName": "u"}
    optional = {"voice": "v", "language": "de", "systemPrompt": "p", "openingLine": "o", "agent": "support"}
    assert talk._body("u", **optional) == {
        "userId": "u",
        "userName": "u",
        "voice": "v",
        "language": "de",
        "systemPrompt": "p",
        "openingLine": "o",
        "agent": "support",
    }


def test_sentences_come_first_then_files_then_the_chat(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", Pcm(bytes(3200), 16_000))
    utterances = talk._utterances(["one", "two"], [tmp_path / "a.wav"], ["three"], None)
    assert utterances is not None
    assert [(u.kind, u.text, u.pcm is None) for u in utterances] == [
        ("say", "one", False),
        ("say", "two", False),
        ("wav", "a.wav", False),
        ("type", "three", True),
    ]


@pytest.mark.parametrize(("terminal", "expected"), [(True, None), (False, [])])
def test_with_nothing_given_a_terminal_is_typed_at(
    terminal: bool, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: terminal, raising=False)
    assert talk._utterances([], [], [], None) == expected


async def test_lines_are_read_as_they_are_typed_until_the_end() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"one\n\n  two  \nthr")
    lines = typed_lines(ours, lambda: False)
    assert [await anext(lines), await anext(lines)] == ["one", "two"]
    os.write(theirs, "éé".encode())
    os.close(theirs)
    assert [line async for line in lines] == ["thréé"]
    os.close(ours)


async def test_typing_ends_with_the_call() -> None:
    ours, theirs = os.pipe()
    assert [line async for line in typed_lines(ours, lambda: True)] == []
    os.close(theirs)
    os.close(ours)


# --- the report ------------------------------------------------------------------------------------------


def report() -> Report:
    timeline = Timeline(100.0, start_answered_at=100.0042, room_joined_at=100.2, first_sound_at=100.5)
    return Report(
        "prewarm_1",
        True,
        timeline,
        transcript=[Line("1", "agent", 100.6, " Hello. ", True), Line("2", "user", 102.1, "hi", False)],
        sentences=[Sentence("say", "hi", 102.0, 102.65), Sentence("type", "bye", 104.0)],
    )


def test_the_document_has_times_since_the_request() -> None:
    assert report().as_json() == {
        "sessionId": "prewarm_1",
        "prewarmed": True,
        "timeline": {
            "startAnsweredMs": 4.2,
            "readyMs": None,
            "roomJoinedMs": 200.0,
            "agentSeenMs": None,
            "firstSoundMs": 500.0,
        },
        "sentences": [
            {"kind": "say", "text": "hi", "endedMs": 2000.0, "answerMs": 650.0},
            {"kind": "type", "text": "bye", "endedMs": 4000.0, "answerMs": None},
        ],
        "transcript": [
            {"who": "agent", "text": "Hello.", "final": True, "atMs": 600.0},
            {"who": "user", "text": "hi", "final": False, "atMs": 2100.0},
        ],
        "ended": False,
        "error": None,
    }


def test_people_are_told_the_steps_that_happened() -> None:
    out = Console(file=io.StringIO(), width=120)
    report().print(out)
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().splitlines() == [
        "",
        "session prewarm_1 · was waiting",
        "  start answered        4 ms",
        "  room joined         200 ms",
        "  first sound         500 ms",
        "  “hi”: answered 650 ms after its end",
        "  “bye”: no answer was heard",
    ]


def test_a_transcript_grows_and_nothing_is_printed_twice() -> None:
    out = Console(file=io.StringIO(), width=120)
    transcript = Transcript(out)
    agent, user = Line("a", "agent", 0.0), Line("u", "user", 0.0)
    steps = [
        (agent, " One", False),
        (user, "not yet", False),
        (agent, " One, two", False),
        (user, "stop [now]", True),
        (agent, " One, two. ", True),
    ]
    for line, text, final in steps:
        line.text, line.final = text, final
        transcript.show(line)
    transcript.close()
    assert isinstance(out.file, io.StringIO)
    assert out.file.getvalue().splitlines() == [" agent One, two", "   you stop [now]", " agent One, two."]


# --- sound -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_every_width_of_wav_is_read_and_its_channels_mixed(width: int, tmp_path: Path) -> None:
    left, right = (0x40 << 8), (0x20 << 8)
    as_bytes = [_sample(value, width) for value in (left, right)]
    with wave.open(str(tmp_path / "x.wav"), "wb") as file:
        file.setparams((2, width, 8000, 0, "NONE", ""))
        file.writeframes(b"".join(as_bytes) * 800)
    pcm = read_wav(tmp_path / "x.wav")
    assert (pcm.sample_rate, pcm.seconds) == (8000, 0.1)
    assert set(np.frombuffer(pcm.data, np.int16)) == {0x30 << 8}


def _sample(value: int, width: int) -> bytes:
    if width == 1:
        return bytes([(value >> 8) + 128])
    return (value << 8 * (width - 2)).to_bytes(width, "little", signed=True)


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    said = spoken("hello")
    write_wav(tmp_path / "x.wav", said)
    assert read_wav(tmp_path / "x.wav") == said
    assert 0.3 < said.seconds < 1.5


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "no WAV file"), (b"RIFF1234WAVE", "no WAV file"), (b"x" * 100, "no WAV file")]
)
def test_what_is_no_wav_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(content)
    with pytest.raises(WavError, match=message):
        read_wav(tmp_path / "x.wav")


def test_a_wav_without_sound_is_refused(tmp_path: Path) -> None:
    write_wav(tmp_path / "x.wav", Pcm(b"", 8000))
    with pytest.raises(WavError, match="no sound"):
        read_wav(tmp_path / "x.wav")


def test_a_file_that_cannot_be_written_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(WavError, match="cannot be written: Is a directory"):
        write_wav(tmp_path, Pcm(b"", 8000))
