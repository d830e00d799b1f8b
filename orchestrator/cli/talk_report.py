"""What ``greenroom talk`` tells: lines as they come, and at the end the timeline, for people or as JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from rich.console import Console
from rich.markup import escape

if TYPE_CHECKING:
    from orchestrator.adapters.livekit_client import Line

Kind = Literal["say", "wav", "type"]

_NAMES = {"user": "you", "agent": "agent"}
_STYLES = {"user": "cyan", "agent": "green"}


@dataclass
class Sentence:
    """One thing the user said. Times are of the monotonic clock, here and below."""

    kind: Kind
    text: str
    ended_at: float
    answered_at: float | None = None

    @property
    def answer_ms(self) -> float | None:
        """From the sentence's end to the answer's first sound."""
        return None if self.answered_at is None else (self.answered_at - self.ended_at) * 1000


@dataclass
class Timeline:
    """When what happened; ``requested_at`` is the start of it all."""

    requested_at: float
    start_answered_at: float | None = None
    ready_at: float | None = None
    room_joined_at: float | None = None
    agent_seen_at: float | None = None
    first_sound_at: float | None = None

    def ms(self, at: float | None) -> float | None:
        """Milliseconds since the request; None for what did not happen."""
        return None if at is None else round((at - self.requested_at) * 1000, 1)

    @property
    def steps(self) -> dict[str, float | None]:
        """Each step by its name, in milliseconds since the request."""
        return {
            "startAnsweredMs": self.ms(self.start_answered_at),
            "readyMs": self.ms(self.ready_at),
            "roomJoinedMs": self.ms(self.room_joined_at),
            "agentSeenMs": self.ms(self.agent_seen_at),
            "firstSoundMs": self.ms(self.first_sound_at),
        }


_WORDS = {
    "startAnsweredMs": "start answered",
    "readyMs": "agent ready",
    "roomJoinedMs": "room joined",
    "agentSeenMs": "agent seen",
    "firstSoundMs": "first sound",
}


@dataclass
class Report:
    """One conversation."""

    session_id: str
    prewarmed: bool
    timeline: Timeline
    transcript: list[Line] = field(default_factory=list)
    sentences: list[Sentence] = field(default_factory=list)
    heard: tuple[bytes, int] = (b"", 1)
    """What the agent's track carried, as mono int16 PCM, and its Hz."""
    ended: bool = False
    """Whether the session was ended, or left running."""
    error: str | None = None
    """Why the conversation is not complete."""

    def as_json(self) -> dict[str, Any]:
        """The document that ``--json`` prints."""
        return {
            "sessionId": self.session_id,
            "prewarmed": self.prewarmed,
            "timeline": self.timeline.steps,
            "sentences": [self._sentence(sentence) for sentence in self.sentences],
            "transcript": [self._line(line) for line in self.transcript],
            "ended": self.ended,
            "error": self.error,
        }

    def _sentence(self, sentence: Sentence) -> dict[str, Any]:
        answer_ms = sentence.answer_ms
        return {
            "kind": sentence.kind,
            "text": sentence.text,
            "endedMs": self.timeline.ms(sentence.ended_at),
            "answerMs": None if answer_ms is None else round(answer_ms, 1),
        }

    def _line(self, line: Line) -> dict[str, Any]:
        at_ms = self.timeline.ms(line.began_at)
        return {"who": line.who, "text": line.text.strip(), "final": line.final, "atMs": at_ms}

    def print(self, out: Console) -> None:
        """Show it to a person; the transcript was shown as it came."""
        out.print(f"\nsession {escape(self.session_id)} · {'was waiting' if self.prewarmed else 'was started for it'}")
        for name, ms in self.timeline.steps.items():
            if ms is not None:
                out.print(f"  {_WORDS[name]:<15}{ms:>8.0f} ms")
        for sentence in self.sentences:
            out.print(f"  {_measured(sentence)}")


def _measured(sentence: Sentence) -> str:
    said = escape(f"“{sentence.text}”")
    if sentence.answer_ms is None:
        return f"{said}: no answer was heard"
    return f"{said}: answered {sentence.answer_ms:.0f} ms after its end"


class Transcript:
    """Prints lines while they grow: the agent's word by word, the user's once they are final."""

    def __init__(self, out: Console) -> None:
        self._out = out
        self._open: tuple[str, str] | None = None
        """The id of the line that the cursor is on, and what is printed of it."""

    def show(self, line: Line) -> None:
        """Print what is new of it."""
        if line.who == "user" and not line.final:
            return
        if not self._open or self._open[0] != line.id:
            self.close()
            self._write(f"[{_STYLES[line.who]}]{_NAMES[line.who]:>6}[/] ")
            self._open = (line.id, "")
        text = line.text.strip() if line.final else line.text.lstrip()
        self._write(escape(text[len(self._open[1]) :]))
        self._open = (line.id, text)
        if line.final:
            self.close()

    def close(self) -> None:
        """End the line that is open."""
        if self._open:
            self._out.print()
            self._open = None

    def _write(self, text: str) -> None:
        self._out.print(text, end="")
        self._out.file.flush()
