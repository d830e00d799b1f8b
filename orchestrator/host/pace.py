"""How fast an agent is listened to: one that says too much waits, and holds up neither its host nor other agents.

Its line is not read meanwhile, so what it still says fills its own buffers. Ending it would be harsher than needed:
many messages at once may be a mistake, and a call goes on although they are late.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

MESSAGES_PER_S = 20
"""A busy call has one or two: turns, and what was measured."""
AT_ONCE = 300
"""An agent whose host was away says up to 250 as soon as it is back (``agent.host_link``)."""


class Pace:
    """Of one agent, over all its lines: one that opens a new line is not ahead of itself."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due = -math.inf
        """When the messages so far would have come, one after another at this pace."""

    def wait_s(self) -> float:
        """Count one more message; returns for how long it is to wait, which is mostly not at all."""
        now = self._clock()
        self._due = max(self._due, now - AT_ONCE / MESSAGES_PER_S) + 1 / MESSAGES_PER_S
        return max(0.0, self._due - now)
