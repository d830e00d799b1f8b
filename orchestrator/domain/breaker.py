"""When spawns that keep failing are no longer tried: a circuit breaker, as a pure state machine.

======================  =================================  =====================================
phase                   a spawn succeeds                   a spawn fails
======================  =================================  =====================================
closed                  closed, no failure counted         closed, one more; open at the threshold
open (until a moment)   closed                             unchanged: it was begun before
half-open (after that)  closed                             open again, for about twice as long
======================  =================================  =====================================

While it is closed anything may be begun, while it is open nothing, and half-open one try at a time. Any success closes
it, whichever spawn it was: it shows that agents can be started.

Source: M. Nygard, "Release It!", 2007 ("circuit breaker").
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

FOREIGN_TO_IT = frozenset({"host_unavailable", "host_draining", "host_retiring"})
"""Codes of failures that say nothing about whether agents can be started: a host that restarts, drains or stops."""
REASON_CHARS = 300


class Phase(StrEnum):
    """What may be begun: anything, one try, nothing."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


@dataclass(frozen=True)
class BreakerPolicy:
    """When it opens, and for how long."""

    failures: int = 5
    """So many failures in a row open it."""
    base_s: float = 2.0
    """How long it is open first; each time in a row twice as long."""
    cap_s: float = 60.0

    def open_s(self, opened: int, jitter: float) -> float:
        """How long it stays open the ``opened``-th time in a row: half of it for certain, half of it by ``jitter``.

        Args:
            opened: from 1.
            jitter: a random number in [0, 1); the caller draws it.
        """
        longest = min(self.cap_s, self.base_s * 2.0 ** min(opened - 1, 32))
        return longest * (1 + jitter) / 2


@dataclass(frozen=True)
class Breaker:
    """Its state at one moment. Times are the store's."""

    failures: int = 0
    """In a row, while it is closed."""
    opened: int = 0
    """How often in a row; 0 while it is closed."""
    since: float = 0.0
    """The first of these at."""
    open_until: float = 0.0
    code: str = ""
    """Of the failure that opened it."""
    reason: str = ""
    """The same, in words."""

    def phase(self, now: float) -> Phase:
        """What may be begun now."""
        if self.opened == 0:
            return Phase.CLOSED
        return Phase.OPEN if now < self.open_until else Phase.HALF_OPEN

    def succeeded(self) -> Breaker:
        """A spawn succeeded."""
        return Breaker()

    def failed(self, policy: BreakerPolicy, now: float, jitter: float, code: str, reason: str) -> Breaker:
        """A spawn failed. ``jitter`` is a random number in [0, 1)."""
        if code in FOREIGN_TO_IT or self.phase(now) is Phase.OPEN:
            return self
        if self.opened == 0 and self.failures + 1 < policy.failures:
            return replace(self, failures=self.failures + 1)
        opened = self.opened + 1
        return Breaker(
            opened=opened,
            since=self.since or now,
            open_until=now + policy.open_s(opened, jitter),
            code=code,
            reason=reason[:REASON_CHARS],
        )
