"""What the host keeps on disk: who its agents are, their last words, their logs. All bounded."""

from __future__ import annotations

import hmac
import json
import os
import secrets
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import from_json

from contract.keys import DEFAULT_KIND
from contract.masking import Mask, masked
from contract.messages import Pid, SessionId, Ticks
from contract.procfs import boot_id
from orchestrator.host.processes import ProcessId

LOGS_KEPT = 500
LOGS_KEPT_S = 86_400
KEY_BYTES = 32
TAIL_BYTES = 256 * 1024
WORD_BYTES = 16 * 1024
"""A last word is one line; the file is an agent's, and whatever runs in it may have written there."""
REASON_CHARS = 500
SAME_IN_ALL = frozenset({"timestamp", "event", "program", "host", "session_id", "trace_id"})


@dataclass(frozen=True)
class Identity:
    """One agent's process, as written when it was forked."""

    session_id: SessionId
    pid: Pid
    start_ticks: Ticks
    boot_id: str
    created_at: float
    generation: str = ""
    """Which zygote forked it."""
    kind: str = DEFAULT_KIND

    @property
    def process(self) -> ProcessId:
        """The process."""
        return ProcessId(self.pid, self.start_ticks)


_IDENTITY = TypeAdapter(Identity)


@dataclass(frozen=True)
class LastWord:
    """What an agent left behind; ``ok`` is false when something broke."""

    reason: str
    ok: bool

    @classmethod
    def of(cls, reason: str, ok: bool) -> LastWord:
        """In an agent's own words: they may be long, and may quote what is secret."""
        return cls(masked(reason)[:REASON_CHARS], ok)


class AgentFiles:
    """The folder ``GREENROOM_HOME/host``.

    Agents that run as another user (of the group ``agent_gid``) may write their own log and last word, and read none:
    they can go through the folders and not list them, and a session's id cannot be guessed.
    """

    def __init__(self, folder: Path, *, log_max_bytes: int, agent_gid: int | None = None) -> None:
        self._agents = folder / "agents"
        self._logs = folder / "logs"
        self._log_max_bytes = log_max_bytes
        self._agent_gid = agent_gid
        for path in (folder, self._agents, self._logs):
            path.mkdir(parents=True, exist_ok=True)
            path.chmod(0o700 if agent_gid is None else 0o711)
        self._key = _key(folder / "key")

    def proof(self, session_id: str) -> str:
        """What shows that a process is this session's agent; the same for every daemon of this folder."""
        return hmac.digest(self._key, session_id.encode(), "sha256").hex()

    def proves(self, session_id: str, proof: str) -> bool:
        """Whether somebody who says this is this session's agent."""
        return hmac.compare_digest(proof.encode(), self.proof(session_id).encode())

    def instance(self, boot: str) -> str:
        """Names this folder on this boot of its machine: a copy of it, as in a machine's image, has another name."""
        return hmac.digest(self._key, f"instance {boot}".encode(), "sha256").hex()[:32]

    def prepare(self, session_id: str) -> None:
        """Make the files that the agent of this session writes."""
        for path in (self.log_path(session_id), self.last_word_path(session_id)):
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                if self._agent_gid is not None:
                    os.fchown(fd, -1, self._agent_gid)
                    os.fchmod(fd, 0o620)
            finally:
                os.close(fd)

    def log_path(self, session_id: str) -> Path:
        """Where the agent of this session writes its lines."""
        return self._logs / f"{session_id}.log"

    def last_word_path(self, session_id: str) -> Path:
        """Where the agent of this session leaves its last word."""
        return self._agents / f"{session_id}.word"

    def remember(
        self,
        session_id: str,
        process: ProcessId,
        created_at: float,
        generation: str = "",
        kind: str = DEFAULT_KIND,
    ) -> Identity:
        """Write who this agent is, so that a later daemon finds it."""
        identity = Identity(session_id, process.pid, process.start_ticks, boot_id(), created_at, generation, kind)
        temporary = self._agents / f"{session_id}.tmp"
        temporary.write_text(json.dumps(asdict(identity)))
        temporary.rename(self._agents / f"{session_id}.json")
        return identity

    def remembered(self) -> list[Identity]:
        """The agents that an earlier daemon started in this boot. What cannot be read is removed."""
        found, boot = [], boot_id()
        for path in sorted(self._agents.glob("*.json")):
            try:
                identity = _IDENTITY.validate_json(path.read_bytes())
            except ValueError:
                path.unlink(missing_ok=True)
                continue
            if identity.boot_id == boot:
                found.append(identity)
            else:
                self.forget(identity.session_id)
        return found

    def forget(self, session_id: str) -> LastWord | None:
        """Remove what names a dead agent; returns its last word. Its log stays."""
        word = None
        with suppress(OSError, ValueError, KeyError, TypeError):
            with self.last_word_path(session_id).open("rb") as file:
                content = _json(file.read(WORD_BYTES))
            word = LastWord.of(str(content["reason"]), bool(content["ok"]))
        self.last_word_path(session_id).unlink(missing_ok=True)
        (self._agents / f"{session_id}.json").unlink(missing_ok=True)
        return word

    def lines(self, session_id: str, limit: int, mask: Mask) -> list[dict[str, Any]]:
        """The newest lines of an agent's log, oldest first, each as an object.

        Masked here: the agent has its own lines masked, and not what a program that it started wrote to the same file.
        """
        try:
            with self.log_path(session_id).open("rb") as log:
                start = max(0, log.seek(0, 2) - TAIL_BYTES)
                log.seek(start)
                # Not splitlines(): a text may hold what that takes for a line's end, such as U+2028.
                rows = log.read().decode(errors="replace").split("\n")[1 if start else 0 :]
        except FileNotFoundError:
            return []
        rows = [row for row in rows if row.strip()]
        return [_structured(mask(row)) for row in rows[-limit:]] if limit > 0 else []

    def trim(self) -> None:
        """Cut logs that grew too long to their newest half, and drop those of long ago."""
        logs = sorted(self._logs.glob("*.log"), key=_changed_at, reverse=True)
        for path in logs:
            with suppress(FileNotFoundError):
                if path.stat().st_size > self._log_max_bytes:
                    self._cut(path)
        oldest = time.time() - LOGS_KEPT_S
        for path in [*logs[LOGS_KEPT:], *(p for p in logs[:LOGS_KEPT] if _changed_at(p) < oldest)]:
            path.unlink(missing_ok=True)

    def _cut(self, path: Path) -> None:
        # The agent appends: after the cut it writes on at the new end. A line written in between may be lost.
        with path.open("r+b") as log:
            log.seek(-self._log_max_bytes // 2, 2)
            kept = log.read().partition(b"\n")[2]
            log.seek(0)
            log.write(kept)
            log.truncate()


def _key(path: Path) -> bytes:
    """This folder's own, made once."""
    with suppress(FileNotFoundError):
        if len(key := path.read_bytes()) == KEY_BYTES:
            return key
    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(key := secrets.token_bytes(KEY_BYTES))
    draft.rename(path)
    return key


def _changed_at(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _structured(row: str) -> dict[str, Any]:
    with suppress(ValueError):
        line = _json(row)
        if isinstance(line, dict):
            return _as_told(line)
    return {"stream": "native", "message": row[:8000]}


def _as_told(line: dict[str, Any]) -> dict[str, Any]:
    """An agent's line as the API has it: ``at`` in Unix seconds, ``message``, and nothing that all its lines say."""
    try:
        at = datetime.fromisoformat(line["timestamp"]).timestamp()
        told = {"at": round(at, 3), "message": line["event"]}
    except (KeyError, TypeError, ValueError):
        return line
    if "stream" in line:
        return told | {"stream": line["stream"]}
    return told | {name: value for name, value in line.items() if name not in SAME_IN_ALL}


def _json(text: str | bytes) -> Any:
    """Strictly: the standard library's parser lets through what no answer can hold, and recurses as deep as it is told.

    Raises:
        ValueError: it is not JSON, or has NaN, an infinity, half of a surrogate pair, or too many levels.
    """
    return from_json(text, allow_inf_nan=False)
