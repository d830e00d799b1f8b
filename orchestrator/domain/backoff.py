"""Exponential backoff with full jitter.

Source: M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015 ("full jitter").
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Backoff:
    """How long to wait before a try, in seconds."""

    base_s: float = 0.2
    cap_s: float = 5.0
    tries: int = 3

    def delay_s(self, attempt: int, jitter: float) -> float | None:
        """The wait after try number ``attempt`` (from 1) failed, or None when no try is left.

        Args:
            attempt: tries made so far.
            jitter: a random number in [0, 1); the caller draws it.
        """
        if attempt >= self.tries:
            return None
        ceiling = min(self.cap_s, self.base_s * 2.0 ** (attempt - 1))
        return ceiling * jitter
