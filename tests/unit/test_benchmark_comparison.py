"""The table of Greenroom beside the alternatives: who was never served makes nobody faster, and targets are judged."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.comparison import Figure, Row, compare, times
from benchmarks.report import percentile


def way(warm_s: list[float | None], used_up_s: list[float | None] | None = None, mb: float = 20.0) -> dict[str, Any]:
    return {"warm_s": warm_s, "used_up_s": used_up_s or [], "idle_mb": [mb], "session_mb": [mb * 2]}


def bursts(ours: dict[str, Any], theirs: dict[str, Any], size: int = 10) -> dict[str, Any]:
    return {
        f"alternatives_{size}": {
            "raw": {"size": size, "joins_s": [0.05], "ways": {"Greenroom": ours, "worker": theirs}}
        }
    }


@pytest.mark.parametrize(
    ("share", "expected"),
    [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1), (0.95, 95)],
    ids=["p50", "p99", "max", "min", "p95"],
)
def test_percentiles_are_of_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_the_p99_of_few_is_the_longest() -> None:
    assert percentile([3, 1, 2], 0.99) == 3
    assert percentile([7], 0.5) == 7


def test_times_are_of_those_who_were_served_and_the_others_are_counted() -> None:
    assert times([0.1, None, 0.3, None]) == Figure(100.0, 300.0, "ms", 4, 2)
    assert times([None, None]) == Figure(None, None, "ms", 2, 2)
    assert str(times([0.1, None])) == "100 / 100 ms, 1 of 2 never served"
    assert str(times([None])) == "none of 1 served"


def test_a_ratio_is_theirs_in_ours_and_needs_both() -> None:
    assert Row("", Figure(100, None, "ms"), "worker", Figure(350, None, "ms")).ratio == 3.5
    assert Row("", Figure(100, None, "ms"), "worker", Figure(None, None, "ms")).ratio is None
    assert Row("", Figure(0, None, ""), "", None).ratio is None


@pytest.mark.parametrize(
    ("ours", "theirs", "held"),
    [
        ([0.1, 0.1], [0.3, 0.3], True),
        ([0.1, 0.1], [0.29, 0.29], False),
        ([0.1, None], [0.9, 0.9], False),
        ([0.1, 0.1], [None, None], True),
    ],
    ids=["three times", "less", "one of ours unserved", "none of theirs served"],
)
def test_warm_bursts_are_held_to_three_times_the_worker(
    ours: list[float | None], theirs: list[float | None], held: bool
) -> None:
    warm = [row.held for row in compare(bursts(way(ours), way(theirs))) if row.what.endswith("warm")]
    assert warm == [held]


def test_every_alternative_has_its_rows_and_what_was_not_measured_has_none() -> None:
    found = bursts(way([0.1], [0.2]), way([0.4], [0.5]))
    found["alternatives_10"]["raw"]["ways"]["program for each"] = way([3.0])
    rows = [(row.what, row.against, row.ratio) for row in compare(found)]
    assert rows == [
        ("a user's own join, 10 at once, without an agent", "", None),
        ("click to agent seen, 10 at once, warm", "worker", pytest.approx(4)),
        ("click to agent seen, 10 at once, warm", "program for each", pytest.approx(30)),
        ("click to agent seen, 10 at once, used up", "worker", pytest.approx(2.5)),
        ("private memory of an agent, waiting", "worker", 1),
        ("private memory of an agent, waiting", "program for each", 1),
        ("private memory of an agent, in a session", "worker", 1),
        ("private memory of an agent, in a session", "program for each", 1),
    ]


@pytest.mark.parametrize(("p99", "failed", "held"), [(24.9, 0, True), (25.0, 0, False), (3.0, 1, False)])
def test_a_start_is_held_to_its_limit_at_two_hundred_a_second(p99: float, failed: int, held: bool) -> None:
    one = {"p50": 2.0, "p99": p99, "starts": 100, "failed": failed}
    bare = {"p50": 1.0, "p99": 2.0, "starts": 100, "failed": 0}
    raw = {"greenroom": {"50": one, "200": one}, "bare": {"50": bare, "200": bare}}
    rows = list(compare({"open_loop": {"raw": raw}}))
    assert [row.held for row in rows] == [None, held]


def test_one_double_or_leaked_agent_in_all_claims_is_told() -> None:
    rows = list(compare({"claims": {"raw": {"claims": 100_000, "double": 1, "leaked": 0}}}))
    assert [(row.held, str(row.ours)) for row in rows] == [(False, "1"), (True, "0")]
