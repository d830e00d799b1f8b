"""Every message there and back, and nothing but ``ProtocolError`` for what is no message."""

from __future__ import annotations

import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.measures import Timing, Used
from contract.messages import (
    MAX_MESSAGE_BYTES,
    Admit,
    AgentLimits,
    AnyMessage,
    Assign,
    Assigned,
    Assignment,
    Check,
    Checked,
    End,
    Exited,
    Fork,
    Forked,
    Hello,
    Leaving,
    Measured,
    Ping,
    Pong,
    ProtocolError,
    Ready,
    Refused,
    Resumption,
    Retire,
    Retired,
    Spawn,
    Spawned,
    Turn,
    UserJoined,
    UserLeft,
    ZygoteFailed,
    ZygoteReady,
    parse_line,
)

SESSION_ID = "prewarm_0123456789abcdef0123456789abcdef"
ASSIGNMENT = Assignment(
    session_id=SESSION_ID,
    fence=1_763_712_000_123_456,
    user_id="user_123",
    user_name="Åsa",
    voice="mary",
    language="sv",
    system_prompt="Be brief.\nBe kind.",
    opening_line='She said "hello"',
    correlation_id="c-1",
    metadata={"n": 1, "deep": {"list": [1, None, "x"], "nothing": None}},
)

EXAMPLES: list[AnyMessage] = [
    Admit(token="t"),
    Hello(session_id=SESSION_ID, pid=42, start_ticks=7, phase="ready", created_at=1.5, startup_s=0.1),
    Hello(session_id=SESSION_ID, pid=42, start_ticks=7, phase="active", created_at=1.5, assignment=ASSIGNMENT),
    Ready(startup_s=0.11),
    Assigned(fence=3, accepted=False, reason="taken"),
    UserJoined(identity="user", at=1.0),
    UserLeft(at=2.0),
    Turn(role="assistant", text="Hello\nthere 😀", at=3.0, interrupted=True, latency_s=0.4),
    Measured(
        seq=3,
        timings=(Timing(of="latency", provider="other", seconds=0.6),),
        used=(Used(unit="tts_characters", provider="inworld", amount=42),),
        barge_ins=1,
        transcription_errors=("assemblyai",),
    ),
    Leaving(reason="the user left", ok=False),
    Pong(seq=1, in_room=True),
    Assign(assignment=ASSIGNMENT),
    Assign(assignment=Assignment(session_id=SESSION_ID, fence=0, user_id="u")),
    End(reason="drained"),
    Ping(seq=0),
    Spawn(session_id="session_1763712000123_0123456789abcdef", requested_at=1.0, timeout_s=60),
    Spawned(ok=True, pid=1, startup_s=0.2),
    Spawned(ok=False, reason="no memory", code="agent_failed"),
    Check(),
    Checked(agents=2, ended=[SESSION_ID]),
    Retire(),
    Retired(agents=0),
    Refused(reason="unknown"),
    Fork(
        session_id=SESSION_ID,
        requested_at=1.0,
        livekit_url="ws://127.0.0.1:7880",
        host_socket="/run/host.sock",
        log_path="/run/a.log",
        last_word_path="/run/a.json",
        limits=AgentLimits(orphan_s=1, reconnect_grace_s=0),
    ),
    ZygoteReady(pid=1, preload_s=2.5),
    ZygoteFailed(reason="no module named x"),
    Forked(session_id=SESSION_ID, pid=1, start_ticks=2),
    Forked(session_id=SESSION_ID, error="out of processes"),
    Exited(pid=1, status=-9),
]

TYPES = get_args(get_args(AnyMessage)[0])


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: m.type)
def test_there_and_back(message: AnyMessage) -> None:
    line = message.to_line()
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1, "one line, whatever the texts hold"
    assert parse_line(line) == message


@pytest.mark.parametrize("said", [-1, 2**50 + 1, 10**400])
def test_no_process_has_such_memory(said: int) -> None:
    with pytest.raises(ProtocolError, match="private_bytes"):
        parse_line(b'{"v":1,"type":"pong","seq":1,"in_room":true,"private_bytes":%d}' % said)


def test_every_type_has_an_example_and_a_name_of_its_own() -> None:
    assert {type(example) for example in EXAMPLES} == set(TYPES)
    assert len({example.type for example in EXAMPLES}) == len(TYPES)


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_docstring_names_its_sender(kind: type) -> None:
    sender, arrow, _ = (kind.__doc__ or "").partition("->")
    assert arrow
    assert sender.strip() in {"agent", "host", "worker", "operator", "zygote"}


@pytest.mark.parametrize("message", EXAMPLES, ids=lambda m: m.type)
@pytest.mark.parametrize("spoil", ["version", "type", "extra", "truncated", "no type"])
def test_refused(message: AnyMessage, spoil: str) -> None:
    content = json.loads(message.to_line())
    line = b""
    match spoil:
        case "version":
            content["v"] = 2
        case "type":
            content["type"] = "greeting"
        case "extra":
            content["extra"] = 1
        case "no type":
            del content["type"]
        case "truncated":
            line = message.to_line()[:-3]
    with pytest.raises(ProtocolError) as raised:
        parse_line(line or json.dumps(content).encode())
    assert str(raised.value)


@pytest.mark.parametrize(
    ("message", "field", "value"),
    [
        (EXAMPLES[0], "session_id", "../etc/passwd"),
        (EXAMPLES[0], "session_id", "session_SHOUTING"),
        (EXAMPLES[0], "session_id", SESSION_ID + "\n"),
        (EXAMPLES[0], "session_id", "prewarm_short"),
        (EXAMPLES[0], "pid", 0),
        (EXAMPLES[0], "start_ticks", -1),
        (EXAMPLES[0], "phase", "ended"),
        (EXAMPLES[6], "role", "system"),
        (EXAMPLES[6], "text", "x" * 16_385),
        (EXAMPLES[13], "timeout_s", 0),
        (EXAMPLES[13], "timeout_s", 61),
        (EXAMPLES[2], "startup_s", "soon"),
        (EXAMPLES[2], "startup_s", float("nan")),
        (EXAMPLES[2], "startup_s", float("inf")),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(message: AnyMessage, field: str, value: object) -> None:
    content: dict[str, Any] = {**json.loads(message.to_line()), field: value}
    with pytest.raises(ProtocolError, match=field):
        parse_line(json.dumps(content).encode())


def test_a_line_may_be_as_long_as_the_limit_and_no_longer() -> None:
    frame = len(End(reason="").to_line())
    longest = End(reason="x" * (MAX_MESSAGE_BYTES - frame))
    assert parse_line(longest.to_line()) == longest
    with pytest.raises(ProtocolError, match="bytes"):
        parse_line(End(reason="x" * (MAX_MESSAGE_BYTES - frame + 1)).to_line())


def test_the_largest_start_request_fits() -> None:
    worst = Assignment(session_id=SESSION_ID, fence=1, user_id="u", system_prompt="\x01" * 16_384)
    assert len(Assign(assignment=worst).to_line()) < MAX_MESSAGE_BYTES


def test_a_message_says_nothing_of_what_it_refused() -> None:
    with pytest.raises(ProtocolError) as raised:
        parse_line(b'{"v":1,"type":"end","reason":{"token":"secret-value"}}')
    assert "secret-value" not in str(raised.value)


@given(st.binary(max_size=400))
def test_random_bytes(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_line(line)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)


@given(st.sampled_from(EXAMPLES), st.dictionaries(st.text(max_size=8), json_values, max_size=3), st.data())
def test_spoiled_messages_are_understood_or_refused(
    message: AnyMessage, extra: dict[str, object], data: st.DataObject
) -> None:
    content = json.loads(message.to_line())
    content[data.draw(st.sampled_from(sorted(content)))] = data.draw(json_values)
    content |= extra
    try:
        parsed = parse_line(json.dumps(content).encode())
    except ProtocolError:
        return
    assert parse_line(parsed.to_line()) == parsed


@given(st.sampled_from(EXAMPLES), st.data())
def test_cut_and_flipped_lines(message: AnyMessage, data: st.DataObject) -> None:
    line = bytearray(message.to_line())
    line[data.draw(st.integers(0, len(line) - 1))] = data.draw(st.integers(0, 255))
    try:
        parse_line(bytes(line[: data.draw(st.integers(0, len(line)))]))
    except ProtocolError:
        return


@given(
    st.text(max_size=50).filter(lambda s: s.isprintable()),
    st.none() | st.text(max_size=50).filter(lambda s: s.isprintable()),
    st.dictionaries(st.text("abc", max_size=5), st.none() | st.integers() | st.text('xyz\n"\\'), max_size=4),
    st.integers(0, 2**53 - 1),
)
def test_any_assignment_there_and_back(
    user_id: str, prompt: str | None, metadata: dict[str, object], fence: int
) -> None:
    message = Assign(
        assignment=Assignment(
            session_id=SESSION_ID, fence=fence, user_id=user_id, system_prompt=prompt, metadata=metadata
        )
    )
    assert parse_line(message.to_line()) == message


def test_a_resumption_has_the_newest_turns_that_fit() -> None:
    held = Assignment(session_id="session_12345678", fence=1, user_id="u", system_prompt="\x01" * 10_000)
    turns = tuple(Turn(role="user", text=f"{number} " + "\x02" * 500, at=1.0) for number in range(100))
    message = Assign.fitting(held, Resumption(active=True, elapsed_s=3.0, history=turns))
    line = message.to_line()
    assert MAX_MESSAGE_BYTES - 3_500 < len(line) <= MAX_MESSAGE_BYTES
    assert parse_line(line) == message
    assert message.resumption is not None
    kept = message.resumption.history
    assert 0 < len(kept) < 100
    assert kept == turns[-len(kept) :], "in order, up to the last one"


def test_a_turn_that_cannot_fit_leaves_a_resumption_without_any() -> None:
    held = Assignment(session_id="session_12345678", fence=1, user_id="u", system_prompt="\x01" * 16_000)
    history = (Turn(role="user", text="hi", at=1.0), Turn(role="user", text="\x02" * 16_000, at=1.0))
    message = Assign.fitting(held, Resumption(active=True, elapsed_s=3.0, history=history))
    assert message.resumption == Resumption(active=True, elapsed_s=3.0)
    assert parse_line(message.to_line()) == message


def test_a_first_assignment_has_no_resumption() -> None:
    held = Assignment(session_id="session_12345678", fence=1, user_id="u")
    assert Assign.fitting(held, None) == Assign(assignment=held)
