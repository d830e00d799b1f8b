"""What is logged has no secret in it, in whatever form it got there."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.masking import MASKED, Mask, secrets_in

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ1c2VyIn0.c2lnbmF0dXJlLW9mLWl0"


def test_secrets_and_tokens_are_taken_out() -> None:
    mask = Mask(["key-of-a-provider", "key-of-a-provider-and-more", "short"])
    assert mask(f"sent key-of-a-provider-and-more, short, {TOKEN}.") == f"sent {MASKED}, short, {MASKED}."


@given(st.text(st.characters(codec="utf-8"), min_size=8, max_size=40))
def test_one_with_any_characters_is_found_in_json(secret: str) -> None:
    assert secret not in json.loads(Mask([secret])(json.dumps({"event": f"<{secret}>"})))["event"]


@pytest.mark.parametrize("name", ["GROQ_API_KEY", "LIVEKIT_API_SECRET", "ADMIN_TOKEN", "API_KEYS", "my_password"])
def test_variables_whose_names_say_so_are_secrets(name: str) -> None:
    assert set(secrets_in({name: "one-value,another", "PATH": "/bin"})) == {"one-value,another", "one-value", "another"}


def test_without_secrets_tokens_are_still_taken_out() -> None:
    assert Mask()(TOKEN) == MASKED
