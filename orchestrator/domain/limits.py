"""How often something may be done: so many times within a window that slides."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.domain.errors import GreenroomError

FORM = re.compile(r"([1-9][0-9]{0,4})/(second|minute|hour|day)")
WINDOWS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
MOST = 10_000
"""The store keeps the moment of each one that counts: more would hold it up when they all leave the window at once."""
WORDS = f"0 for no limit, or a number from 1 to {MOST}, a slash, and second, minute, hour or day, such as 20/minute"


@dataclass(frozen=True)
class Rate:
    """At most ``amount`` within any ``window_s`` seconds."""

    amount: int
    window_s: int


@dataclass(frozen=True)
class Counted:
    """One rate that a request counts against. ``name`` is the policy's (``user``), ``digest`` says whose it is."""

    name: str
    digest: str
    rate: Rate


@dataclass(frozen=True)
class Quota:
    """What is left of a rate. In ``reset_s`` seconds there is more; when nothing is left, one."""

    name: str
    rate: Rate
    remaining: int
    reset_s: int


class RateLimitedError(GreenroomError):
    """These are too many starts in a short time. Try again a little later."""

    code, status, retry_after_s = "rate_limited", 429, 10

    def __init__(
        self, detail: str | None = None, *, retry_after_s: int | None = None, quotas: Sequence[Quota] = ()
    ) -> None:
        super().__init__(detail, retry_after_s=retry_after_s)
        self.quotas = tuple(quotas)


def parse_rate(text: str) -> Rate | None:
    """A rate such as ``20/minute``; None for ``0``, which is no limit.

    Raises:
        ValueError: it is none; the message says what it should be.
    """
    if text == "0":
        return None
    found = FORM.fullmatch(text)
    if found is None or int(found[1]) > MOST:
        raise ValueError(f"should be {WORDS}, not {text!r}")
    return Rate(int(found[1]), WINDOWS_S[found[2]])
