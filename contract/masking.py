"""Secrets are taken out of what is logged and told, whoever put them there."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import unquote

SHORTEST = 8
"""What is shorter would be found in words that are none."""
JWT_FORM = r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"
"""A JSON Web Token: each is a way into a room, or what a caller presents."""
CREDENTIALS_FORM = r"""(?<=://)[^\s/?#\\"'<>@:]*:[^\s/?#\\"'<>]+(?=@)"""
"""``user:password`` in an address, such as a database's that could not be reached."""
MASKED = "[masked]"
SECRET_NAME = re.compile(r"(KEY|KEYS|SECRET|TOKEN|PASSWORD|HEADERS)$")


class Mask:
    """Replaces these secrets, every JSON Web Token, and who signs in by an address and how, in a text."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = {form for secret in secrets if len(secret) >= SHORTEST for form in (secret, json.dumps(secret)[1:-1])}
        # The longest first: one may be the beginning of another.
        self._pattern = re.compile(
            "|".join([*map(re.escape, sorted(known, key=len, reverse=True)), JWT_FORM, CREDENTIALS_FORM])
        )

    def __call__(self, text: str) -> str:
        """The text without them."""
        return self._pattern.sub(MASKED, text)


def masked(text: str) -> str:
    """The text without the secrets of this process's environment."""
    return Mask(secrets_in(os.environ))(text)


def secrets_in(environment: Mapping[str, str]) -> list[str]:
    """The values of the variables whose names say that they are secrets; of a list or of several lines, each."""
    return [
        part.strip()
        for name, value in environment.items()
        if SECRET_NAME.search(name.upper())
        for part in _parts_of(name.upper(), value)
    ]


def _parts_of(name: str, value: str) -> set[str]:
    parts = {value, *value.split(","), *value.splitlines()}
    if name.endswith("HEADERS"):  # OpenTelemetry's: name=value,name=value
        parts |= {unquote(part.partition("=")[2]) for part in parts}
    return parts
