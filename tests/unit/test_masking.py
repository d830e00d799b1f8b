"""What is logged has no secret in it, in whatever form it got there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.masking import MASKED, Mask, masked, secrets_in

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJlLW9mLWl0"


def test_secrets_and_tokens_are_taken_out() -> None:
    mask = Mask(["key-of-a-provider", "key-of-a-provider-and-more", "short"])
    assert mask(f"sent key-of-a-provider-and-more, short, {TOKEN}.") == f"sent {MASKED}, short, {MASKED}."


@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=40))
def test_one_with_any_characters_is_found_in_json(secret: str) -> None:
    assert secret not in json.loads(Mask([secret])(json.dumps({"event": f"<{secret}>"})))["event"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "cannot connect to postgres://shop:hunter2@10.0.0.5/db now",
            f"cannot connect to postgres://{MASKED}@10.0.0.5/db now",
        ),
        ("redis://:p@ss:word@r:6379/0, amqp://u:p@q", f"redis://{MASKED}@r:6379/0, amqp://{MASKED}@q"),
        ('{"url": "https://ada:lovelace@example.com"}', f'{{"url": "https://{MASKED}@example.com"}}'),
        ("http://10.0.0.5:8080/a@b of ada@example.com", "http://10.0.0.5:8080/a@b of ada@example.com"),
        ("wss://example.com:443\\nada@example.com", "wss://example.com:443\\nada@example.com"),
        ("ssh://git@example.com", "ssh://git@example.com"),
    ],
)
def test_who_signs_in_by_an_address_is_taken_out(text: str, told: str) -> None:
    assert Mask()(text) == told


def test_what_is_told_has_no_secret_of_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GROQ_API_KEY", "gsk-0123456789")
    assert masked("refused: gsk-0123456789 at amqp://u:p@q") == f"refused: {MASKED} at amqp://{MASKED}@q"


@pytest.mark.parametrize("name", ["GROQ_API_KEY", "LIVEKIT_API_SECRET", "ADMIN_TOKEN", "API_KEYS", "my_password"])
def test_variables_whose_names_say_so_are_secrets(name: str) -> None:
    assert set(secrets_in({name: "one-value,another", "PATH": "/bin"})) == {"one-value,another", "one-value", "another"}


def test_a_key_among_headers_is_one() -> None:
    mask = Mask(secrets_in({"OTEL_EXPORTER_OTLP_HEADERS": "x-team=one-two-three,authorization=Bearer%20four-five-six"}))
    assert mask("sent one-two-three, Bearer four-five-six") == f"sent {MASKED}, {MASKED}"
    assert mask("authorization") == "authorization"


def test_each_line_of_a_key_is_one() -> None:
    pem = "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\n-----END KEY-----\n"
    assert Mask(secrets_in({"PRIVATE_KEY": pem}))("read MIIEvQIBADANBgkq") == f"read {MASKED}"


def test_without_secrets_tokens_are_still_taken_out() -> None:
    assert Mask()(TOKEN) == MASKED
