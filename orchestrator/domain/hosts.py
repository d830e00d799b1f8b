"""Which hosts are lost: pure policy, by the store's clock alone.

After the store itself was away, every heartbeat is old, and no host is lost for it. So a host is first suspected, and
lost only when it stayed silent for a while after that, while the store was there: a heartbeat ends a suspicion.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Pulse:
    """When a host was heard. Times are Unix seconds by the store's clock."""

    host: str
    heartbeat_at: float
    suspect_at: float | None = None
    """Suspected since then; None when it was heard after that."""


@dataclass(frozen=True)
class LossPolicy:
    """How long a host may be silent, in seconds."""

    lost_s: float = 10.0

    @property
    def suspect_s(self) -> float:
        """Silent for so long it is suspected: two or three heartbeats are missing."""
        return self.lost_s / 4

    @property
    def confirm_s(self) -> float:
        """Suspected for so long it may be lost: longer than a host takes to reach a store that has come back."""
        return self.lost_s * 0.4


@dataclass(frozen=True)
class Suspect:
    """Note that this host is silent."""

    host: str


@dataclass(frozen=True)
class Lose:
    """Declare this host lost."""

    host: str


def judge(pulses: Iterable[Pulse], policy: LossPolicy, now: float) -> list[Suspect | Lose]:
    """What to do about each silent host. One that is lost already is declared so again, which changes nothing."""
    verdicts: list[Suspect | Lose] = []
    for pulse in pulses:
        silent_s = now - pulse.heartbeat_at
        if pulse.suspect_at is None:
            if silent_s >= policy.suspect_s:
                verdicts.append(Suspect(pulse.host))
        elif silent_s >= policy.lost_s and now - pulse.suspect_at >= policy.confirm_s:
            verdicts.append(Lose(pulse.host))
    return verdicts
