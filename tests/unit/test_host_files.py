"""What the host keeps on disk: notes of its agents, their last words, their logs."""

from __future__ import annotations

import json
import os
import tempfile
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.masking import MASKED, Mask
from contract.procfs import boot_id
from orchestrator.host import agent_files
from orchestrator.host.agent_files import AgentFiles, Identity, LastWord
from orchestrator.host.processes import ProcessId
from tests.support.records import warm_id

MAX_BYTES = 10_000
PROCESS = ProcessId(4242, 99)


@pytest.fixture
def files(tmp_path: Path) -> AgentFiles:
    return AgentFiles(tmp_path / "host", log_max_bytes=MAX_BYTES)


def test_only_the_owner_may_read(files: AgentFiles, tmp_path: Path) -> None:
    for folder in ("host", "host/agents", "host/logs"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o700


def test_agents_of_another_user_write_their_own_files_and_read_none(tmp_path: Path) -> None:
    gid = os.getgid()
    files = AgentFiles(tmp_path / "host", log_max_bytes=MAX_BYTES, agent_gid=gid)
    files.prepare(warm_id(1))
    for folder in ("host", "host/agents", "host/logs"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == 0o711, "to go through, and not to list"
    for path in (files.log_path(warm_id(1)), files.last_word_path(warm_id(1))):
        assert (path.stat().st_mode & 0o777, path.stat().st_gid) == (0o620, gid)
    assert (tmp_path / "host" / "key").stat().st_mode & 0o777 == 0o600


def test_preparing_keeps_what_an_earlier_try_wrote(files: AgentFiles) -> None:
    files.prepare(warm_id(1))
    files.log_path(warm_id(1)).write_text("line\n")
    files.prepare(warm_id(1))
    assert files.log_path(warm_id(1)).read_text() == "line\n"
    assert files.log_path(warm_id(1)).stat().st_mode & 0o777 == 0o600
    assert files.forget(warm_id(1)) is None, "it has said nothing"


def test_a_proof_is_one_sessions_and_holds_for_every_daemon_of_the_folder(files: AgentFiles, tmp_path: Path) -> None:
    again = AgentFiles(tmp_path / "host", log_max_bytes=MAX_BYTES)
    assert files.proof(warm_id(1)) == again.proof(warm_id(1)) != files.proof(warm_id(2))
    elsewhere = AgentFiles(tmp_path / "other", log_max_bytes=MAX_BYTES)
    assert elsewhere.proof(warm_id(1)) != files.proof(warm_id(1))
    (tmp_path / "host" / "key").write_bytes(b"half")
    mended = AgentFiles(tmp_path / "host", log_max_bytes=MAX_BYTES)
    assert mended.proof(warm_id(1)) != files.proof(warm_id(1))


def test_a_folder_and_a_boot_have_a_name_of_their_own(files: AgentFiles, tmp_path: Path) -> None:
    again = AgentFiles(tmp_path / "host", log_max_bytes=MAX_BYTES)
    elsewhere = AgentFiles(tmp_path / "other", log_max_bytes=MAX_BYTES)
    assert files.instance("boot-1") == again.instance("boot-1"), "a daemon that starts again is the same"
    assert len({files.instance("boot-1"), files.instance("boot-2"), elsewhere.instance("boot-1")}) == 3


def test_what_is_remembered_is_found_until_it_is_forgotten(files: AgentFiles, tmp_path: Path) -> None:
    first = files.remember(warm_id(1), PROCESS, 12.5)
    second = files.remember(warm_id(2), replace(PROCESS, pid=4243), 13.0)

    assert first == Identity(warm_id(1), 4242, 99, boot_id(), 12.5)
    assert first.process == PROCESS
    assert AgentFiles(tmp_path / "host", log_max_bytes=MAX_BYTES).remembered() == [first, second]
    assert files.forget(warm_id(1)) is None
    assert files.remembered() == [second]
    assert files.forget(warm_id(1)) is None, "forgetting twice is no error"


def test_an_agent_of_another_boot_is_forgotten(files: AgentFiles, tmp_path: Path) -> None:
    note = files.remember(warm_id(1), PROCESS, 1.0)
    path = tmp_path / "host" / "agents" / f"{warm_id(1)}.json"
    path.write_text(json.dumps(asdict(note) | {"boot_id": "another"}))
    files.last_word_path(warm_id(1)).write_text('{"reason": "x", "ok": true}')

    assert files.remembered() == []
    assert list((tmp_path / "host" / "agents").iterdir()) == []


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b"null", b"{}", b"\xff\xfe", b'{"session_id": 1}', b'"text"'],
)
def test_a_spoilt_note_is_removed_and_the_others_are_read(files: AgentFiles, tmp_path: Path, content: bytes) -> None:
    good = files.remember(warm_id(2), PROCESS, 1.0)
    spoilt = tmp_path / "host" / "agents" / f"{warm_id(1)}.json"
    spoilt.write_bytes(content)

    assert files.remembered() == [good]
    assert not spoilt.exists()


@pytest.mark.parametrize("field", ["pid", "start_ticks", "created_at"])
def test_a_note_with_a_value_of_the_wrong_type_is_a_spoilt_one(files: AgentFiles, tmp_path: Path, field: str) -> None:
    note = files.remember(warm_id(1), PROCESS, 1.0)
    path = tmp_path / "host" / "agents" / f"{warm_id(1)}.json"
    path.write_text(json.dumps(asdict(note) | {field: "many"}))

    assert files.remembered() == []


def test_a_last_word_quotes_nobodys_password(files: AgentFiles) -> None:
    files.last_word_path(warm_id(1)).write_text('{"reason": "no postgres://shop:hunter2@10.0.0.5/db", "ok": false}')
    assert files.forget(warm_id(1)) == LastWord("no postgres://[masked]@10.0.0.5/db", ok=False)


def test_a_last_word_is_read_once(files: AgentFiles) -> None:
    files.last_word_path(warm_id(1)).write_text('{"reason": "the user left", "ok": true}')
    assert files.forget(warm_id(1)) == LastWord("the user left", ok=True)
    assert files.forget(warm_id(1)) is None


@pytest.mark.parametrize("content", ["", "{", "[]", '{"reason": "x"}', "null"])
def test_a_spoilt_last_word_is_none(files: AgentFiles, content: str) -> None:
    files.last_word_path(warm_id(1)).write_text(content)
    assert files.forget(warm_id(1)) is None
    assert not files.last_word_path(warm_id(1)).exists()


def test_lines_are_structured_where_they_are_and_marked_where_not(files: AgentFiles) -> None:
    files.log_path(warm_id(1)).write_bytes(b'{"at": 1, "message": "joined"}\n\nC library: oops\n[1]\n\xff\n')
    assert files.lines(warm_id(1), 50, Mask()) == [
        {"at": 1, "message": "joined"},
        {"stream": "native", "message": "C library: oops"},
        {"stream": "native", "message": "[1]"},
        {"stream": "native", "message": "�"},
    ]


def test_the_newest_lines_come_oldest_first(files: AgentFiles) -> None:
    files.log_path(warm_id(1)).write_text("".join(f'{{"n": {n}}}\n' for n in range(100)))
    assert files.lines(warm_id(1), 3, Mask()) == [{"n": 97}, {"n": 98}, {"n": 99}]
    assert files.lines(warm_id(2), 3, Mask()) == [], "a session without a log"


@pytest.mark.parametrize("limit", [0, -1])
def test_no_lines_are_asked_for(files: AgentFiles, limit: int) -> None:
    files.log_path(warm_id(1)).write_text('{"n": 1}\n{"n": 2}\n')
    assert files.lines(warm_id(1), limit, Mask()) == []


def test_a_huge_log_is_read_from_its_end(files: AgentFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_files, "TAIL_BYTES", 100)
    files.log_path(warm_id(1)).write_text("".join(f'{{"n": {n}}}\n' for n in range(1000)))
    lines = files.lines(warm_id(1), 1000, Mask())
    assert lines[-1] == {"n": 999}
    assert len(lines) < 15


def test_a_long_log_is_cut_to_its_newest_half_and_written_on(files: AgentFiles) -> None:
    path = files.log_path(warm_id(1))
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for number in range(2000):
        os.write(fd, f'{{"n": {number}}}\n'.encode())

    files.trim()
    assert path.stat().st_size <= MAX_BYTES // 2
    os.write(fd, b'{"n": "after"}\n')
    os.close(fd)

    lines = files.lines(warm_id(1), 10_000, Mask())
    assert [line["n"] for line in lines] == [*range(lines[0]["n"], 2000), "after"]
    assert lines[0]["n"] > 1000


def test_a_log_of_one_endless_line_is_bounded_too(files: AgentFiles) -> None:
    files.log_path(warm_id(1)).write_text("x" * 5 * MAX_BYTES)
    files.trim()
    assert files.log_path(warm_id(1)).stat().st_size <= MAX_BYTES


def test_logs_are_bounded_in_number_and_age(files: AgentFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_files, "LOGS_KEPT", 3)
    for number in range(6):
        path = files.log_path(warm_id(number))
        path.write_text("{}\n")
        age_s = number * 60 if number != 2 else 2 * agent_files.LOGS_KEPT_S
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - age_s))

    files.trim()

    left = {number for number in range(6) if files.log_path(warm_id(number)).exists()}
    assert left == {0, 1, 3}


def test_a_text_with_an_unusual_line_end_is_one_line(files: AgentFiles) -> None:
    line = {"message": "one\u2028and\x85the same\x0cline"}
    files.log_path(warm_id(1)).write_text(json.dumps(line, ensure_ascii=False) + "\n", encoding="utf-8")
    assert files.lines(warm_id(1), 5, Mask()) == [line]


@pytest.mark.parametrize(
    "content",
    [b"[" * 50_000, b'{"reason": "\\ud800", "ok": true}', b'{"reason": NaN, "ok": 1}', b"\x00", b'"x"', b"7" * 20_000],
    ids=["deep", "half a character", "no number", "no text", "no object", "long"],
)
def test_a_last_word_that_cannot_be_read_is_none(files: AgentFiles, content: bytes) -> None:
    files.last_word_path(warm_id(1)).write_bytes(content)
    assert files.forget(warm_id(1)) is None
    assert not files.last_word_path(warm_id(1)).exists()


def test_of_a_long_last_word_its_beginning_is_kept(files: AgentFiles) -> None:
    files.last_word_path(warm_id(1)).write_text(json.dumps({"reason": "x" * 10_000, "ok": False}))
    assert files.forget(warm_id(1)) == LastWord("x" * 500, ok=False)


@pytest.mark.parametrize("pid", [0, -1, 2**40, 1.5])
def test_a_note_of_a_process_that_there_cannot_be_is_a_spoilt_one(
    files: AgentFiles, tmp_path: Path, pid: float
) -> None:
    note = files.remember(warm_id(1), PROCESS, 1.0)
    path = tmp_path / "host" / "agents" / f"{warm_id(1)}.json"
    path.write_text(json.dumps(asdict(note) | {"pid": pid}))
    assert files.remembered() == []
    assert not path.exists()


@given(st.binary(max_size=300))
def test_any_last_word_note_and_log_can_be_looked_at(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        files = AgentFiles(Path(folder), log_max_bytes=MAX_BYTES)
        files.last_word_path(warm_id(1)).write_bytes(content)
        (Path(folder) / "agents" / f"{warm_id(2)}.json").write_bytes(content)
        files.log_path(warm_id(1)).write_bytes(content)
        files.remembered()
        files.forget(warm_id(1))
        json.dumps(files.lines(warm_id(1), 50, Mask()), allow_nan=False).encode()


@pytest.mark.parametrize("row", ["[" * 50_000, '{"a": NaN}', '{"a": "\\ud800"}', '{"a": ' + "9" * 5000 + "}", "[1]"])
def test_a_line_that_no_answer_can_hold_is_told_as_text(files: AgentFiles, row: str) -> None:
    files.log_path(warm_id(1)).write_text(f'{{"message": "first"}}\n{row}\n')
    assert files.lines(warm_id(1), 5, Mask()) == [{"message": "first"}, {"stream": "native", "message": row[:8000]}]


def test_an_agents_line_is_told_as_the_api_has_it(files: AgentFiles) -> None:
    line = {
        "timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "logger": "greenroom.agent", "event": "joined",
        "program": "agent", "host": "h", "session_id": warm_id(1), "trace_id": "a", "room": "r",
    }  # fmt: skip
    printed = {**line, "event": "hello", "stream": "stdout", "logger": "stdout"}
    files.log_path(warm_id(1)).write_text(f"{json.dumps(line)}\n{json.dumps(printed)}\n")
    assert files.lines(warm_id(1), 5, Mask()) == [
        {"at": 1767323045.678, "message": "joined", "level": "info", "logger": "greenroom.agent", "room": "r"},
        {"at": 1767323045.678, "message": "hello", "stream": "stdout"},
    ]


KEY = "gsk_0123456789abcdef"


def test_what_a_program_of_the_agents_printed_is_masked(files: AgentFiles) -> None:
    """It wrote to the file itself: the agent's own mask has not seen it."""
    split = "x" * 7990 + KEY
    files.log_path(warm_id(1)).write_text(f"{KEY}\n{json.dumps({'message': KEY, 'n': [KEY]})}\n{split}\n")
    printed, structured, long = files.lines(warm_id(1), 5, Mask([KEY]))
    assert printed == {"stream": "native", "message": MASKED}
    assert structured == {"message": MASKED, "n": [MASKED]}
    assert long["message"] == "x" * 7990 + MASKED
