"""Every kind of message by its own fields: any of them there and back, and what is almost one refused in words."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from contract.messages import MAX_MESSAGE_BYTES, Leaving, ProtocolError, Turn, parse_line
from tests.support.made_up import KINDS, models, spoilt_lines


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
@settings(max_examples=50)
@given(data=st.data())
def test_any_message_of_a_kind_there_and_back(kind: type[BaseModel], data: st.DataObject) -> None:
    message = data.draw(models(kind))
    line = message.to_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    assert parse_line(line) == message


@settings(max_examples=500)
@given(spoilt_lines())
def test_what_is_almost_a_message_is_understood_or_refused_in_words(line: bytes) -> None:
    words, message = "", None
    try:
        message = parse_line(line)
    except ProtocolError as error:
        words = str(error)
    if message is None:
        assert 0 < len(words) <= 300
    else:
        assert parse_line(message.to_line()) == message


@given(st.text(st.characters(categories=["Cs", "L"]), max_size=20))
def test_half_a_character_is_sent_as_a_question_mark(text: str) -> None:
    """A language model's answer may be cut between the halves of an emoji, and a file's name need not be text."""
    shown = "".join("?" if "\ud800" <= character <= "\udfff" else character for character in text)
    for message, sent in (
        (Leaving(reason=text), Leaving(reason=shown)),
        (Turn(role="assistant", text=text, at=1.0), Turn(role="assistant", text=shown, at=1.0)),
    ):
        assert parse_line(message.to_line()) == sent


@pytest.mark.parametrize(
    "line",
    [
        b'{"v":1,"type":"forked","session_id":"prewarm_00000001","pid":%d,"start_ticks":1}' % 2**40,
        b'{"v":1,"type":"exited","pid":-1,"status":0}',
        b'{"v":1,"type":"ready","startup_s":1e300}',
        b'{"v":1,"type":"assigned","fence":%d,"accepted":true}' % 2**60,
        b'{"v":1,"type":"ping","seq":%s}' % (b"9" * 5000),
        b'{"v":1,"type":"ping","seq":1}' + b" " * MAX_MESSAGE_BYTES,
        b'{"v":1,"type":' + b"[" * 100_000,
    ],
    ids=["pid", "negative pid", "seconds", "fence", "digits", "blanks", "depth"],
)
def test_numbers_and_lengths_that_nothing_can_have_are_refused(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_line(line)


def test_every_kind_of_message_is_made_up() -> None:
    assert len(KINDS) > 20
