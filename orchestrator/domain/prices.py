"""What providers charge. Pure: a table in, US dollars out."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import get_args

from contract.measures import Provider, Unit, Used

DEFAULT_PRICES: Mapping[str, float] = {
    "assemblyai.stt_seconds": 0.0000416667,
    "groq.llm_input_tokens": 0.59e-6,
    "groq.llm_output_tokens": 0.79e-6,
    "inworld.tts_characters": 10e-6,
}
"""US dollars for one second, token or character: list prices for the default models, rounded (0.15 an hour, 0.59 and
0.79 a million, 10 a million). Yours may be others."""
NAMES = frozenset(f"{provider}.{unit}" for provider in get_args(Provider) for unit in get_args(Unit))


@dataclass(frozen=True)
class Prices:
    """US dollars for one of each unit, by ``provider.unit``; what is not named costs nothing."""

    usd: Mapping[str, float] = field(default_factory=lambda: dict(DEFAULT_PRICES))

    def of(self, used: Used) -> float:
        """What this costs, in US dollars."""
        return used.amount * self.usd.get(f"{used.provider}.{used.unit}", 0.0)

    def total(self, used: Iterable[Used]) -> float:
        """What all of it costs, in US dollars."""
        return sum(map(self.of, used))


def parse_prices(text: str) -> Prices:
    """Read ``{"groq.llm_input_tokens": 0.00000059, …}``; what it does not name keeps its default price.

    Raises:
        ValueError: it is not such an object; the message says what is wrong.
    """
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        given = None
    if not isinstance(given, dict):
        raise ValueError(  # noqa: TRY004 - of a setting, which pydantic turns into an error in words
            'should be a JSON object such as {"groq.llm_input_tokens": 0.00000059}'
        )
    for name, price in given.items():
        if name not in NAMES:
            raise ValueError(f"has {name!r}; should name a provider and a unit, such as {min(NAMES)}")
        if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < math.inf:
            raise ValueError(f"has {price!r} for {name}; should be US dollars for one, from 0")
    return Prices({**DEFAULT_PRICES, **given})
