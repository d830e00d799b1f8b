"""``greenroom talk``: a real client for terminals and tests. It starts a session, joins, talks and measures."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli import console
from orchestrator.cli.console import CommandError
from orchestrator.cli.talk_report import Report, Timeline, Transcript

if TYPE_CHECKING:
    from collections.abc import Iterator

    from orchestrator.adapters.livekit_client import Line
    from orchestrator.cli.talk_call import Room, Utterance
    from orchestrator.cli.talk_session import CallerClient

DEFAULT_USER = "talk"


@dataclass(frozen=True)
class Options:
    """How to talk."""

    body: dict[str, str]
    """Of the start request."""
    utterances: Sequence[Utterance] | None
    """None: what is typed at the terminal."""
    timeout_s: float
    keep: bool
    quiet: bool
    """Print nothing but the report."""


def talk(
    say: Annotated[list[str] | None, typer.Option(help="Say this aloud. May be given several times.")] = None,
    wav: Annotated[list[Path] | None, typer.Option(help="Say what is in this WAV file, after every --say.")] = None,
    type_: Annotated[list[str] | None, typer.Option("--type", help="Type this into the chat, last of all.")] = None,
    out: Annotated[Path | None, typer.Option(help="Save what the agent said as a WAV file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the session running.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Longest wait for the agent, and for each answer.")] = 30.0,
    url: Annotated[str | None, typer.Option(envvar="GREENROOM_URL", help="The API; else the one of .env.")] = None,
    api_key: Annotated[
        str | None, typer.Option(envvar="GREENROOM_API_KEY", help="API key or JWT; else the first of API_KEYS.")
    ] = None,
    user: Annotated[str, typer.Option(help="The user's id and name.")] = DEFAULT_USER,
    voice: Annotated[str | None, typer.Option(help="The agent's voice.")] = None,
    language: Annotated[str | None, typer.Option(help="The language of both, such as en or de.")] = None,
    system_prompt: Annotated[str | None, typer.Option(help="What the agent should be.")] = None,
    opening_line: Annotated[str | None, typer.Option(help="What the agent says first.")] = None,
    agent: Annotated[str | None, typer.Option(help="The kind of agent; else the default one.")] = None,
) -> None:
    """Start a session and talk: by --say, --wav and --type, else by what you type (Ctrl-D ends it)."""
    from orchestrator.cli.talk_session import find_api

    logging.getLogger("livekit").setLevel(logging.CRITICAL)  # its errors are ours to tell, in a line
    if out is not None and not out.parent.is_dir():
        raise CommandError(f"--out: there is no folder {out.parent}")
    options = Options(
        body=_body(
            user,
            voice=voice,
            language=language,
            systemPrompt=system_prompt,
            openingLine=opening_line,
            agent=agent,
        ),
        utterances=_utterances(say or [], wav or [], type_ or [], language),
        timeout_s=timeout,
        keep=keep,
        quiet=as_json,
    )
    with find_api(url, api_key) as api:
        report = _hold(api, options)
    _tell(report, out, as_json=as_json)
    if report.error:
        raise CommandError(report.error)


def _body(user: str, **optional: str | None) -> dict[str, str]:
    return {"userId": user, "userName": user} | {name: value for name, value in optional.items() if value is not None}


def _utterances(
    say: Sequence[str], wav: Sequence[Path], typed: Sequence[str], language: str | None
) -> list[Utterance] | None:
    """What to say, in its order; None when it is to be typed at the terminal."""
    from orchestrator.adapters.speech import WavError, read_wav, spoken
    from orchestrator.cli.talk_call import Utterance

    if not (say or wav or typed) and sys.stdin.isatty():
        return None
    try:
        return [
            *(Utterance("say", text, spoken(text, language=language)) for text in say),
            *(Utterance("wav", path.name, read_wav(path)) for path in wav),
            *(Utterance("type", text) for text in typed),
        ]
    except WavError as error:
        raise CommandError(f"--wav: {error}") from None


def _hold(api: CallerClient, options: Options) -> Report:
    """Hold the whole conversation: one session, which is over afterwards."""
    timeline = Timeline(monotonic())
    started = api.start(options.body)
    timeline.start_answered_at = started.answered_at
    report = Report(started.session_id, started.prewarmed, timeline)
    with _ending(api, report, keep=options.keep):
        room = started.room
        if room is None:
            api.wait_ready(started.session_id, options.timeout_s)
            timeline.ready_at = monotonic()
            room = api.room(started.session_id, options.body["userName"])
        _converse(room, report, options)
    return report


@contextmanager
def _ending(api: CallerClient, report: Report, *, keep: bool) -> Iterator[None]:
    """End the session whatever happened, Ctrl-C too."""
    try:
        yield
    finally:
        if not keep:
            try:
                api.end(report.session_id)
                report.ended = True
            except CommandError as error:
                report.error = report.error or f"session {report.session_id} was not ended: {error}"


def _converse(room: Room, report: Report, options: Options) -> None:
    from orchestrator.cli.talk_call import converse

    transcript = Transcript(console.out)

    def show(line: Line) -> None:
        # what somebody types is on the terminal already
        if not options.quiet and (options.utterances is not None or line.who == "agent"):
            transcript.show(line)

    try:
        asyncio.run(converse(room, options.utterances, report, on_line=show, timeout_s=options.timeout_s))
    finally:
        transcript.close()


def _tell(report: Report, out: Path | None, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(report.as_json(), indent=2))
    else:
        report.print(console.out)
    if out is not None and report.heard[0]:
        _save(report, out, tell=not as_json)


def _save(report: Report, out: Path, *, tell: bool) -> None:
    from orchestrator.adapters.speech import Pcm, WavError, write_wav

    pcm = Pcm(*report.heard)
    try:
        write_wav(out, pcm)
    except WavError as error:
        raise CommandError(f"--out: {error}") from None
    if tell:
        console.step(f"saved {out}: {pcm.seconds:.1f} s")
