from __future__ import annotations

import pytest

from orchestrator.domain.limits import MOST, Rate, parse_rate


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("20/minute", Rate(20, 60)),
        ("1/second", Rate(1, 1)),
        ("100/hour", Rate(100, 3600)),
        (f"{MOST}/day", Rate(MOST, 86_400)),
        ("0", None),
    ],
)
def test_a_rate_as_it_is_written(text: str, rate: Rate | None) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    ["", "20", "20/", "/minute", "20/week", "20 / minute", "-1/minute", "0/minute", "1e3/minute", "10001/day", "٣/day"],
)
def test_what_is_no_rate(text: str) -> None:
    with pytest.raises(ValueError, match="such as 20/minute"):
        parse_rate(text)
