"""What counts as growth in a soak."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.soak.run import Plan
from benchmarks.soak.samples import Sample, family
from benchmarks.soak.trend import trend
from benchmarks.soak.verdict import FILES_AN_HOUR, broken, judge

TIMES = [10.0 * i for i in range(66)]


def noisy(per_hour: float, noise: float, seed: int = 7) -> list[float]:
    busy = random.Random(seed)
    return [100 + per_hour * at_s / 3600 + busy.gauss(0, noise) for at_s in TIMES]


@given(st.floats(-1e3, 1e3), st.floats(0, 1e4))
def test_a_line_has_its_own_slope(per_hour: float, level: float) -> None:
    found = trend(TIMES[:20], [level + per_hour * at_s / 3600 for at_s in TIMES[:20]])

    assert found.per_hour == pytest.approx(per_hour, abs=1e-3)
    assert found.low <= found.per_hour <= found.high


def test_a_few_odd_points_do_not_move_the_slope() -> None:
    values = noisy(12.0, 0.01)
    for place in range(0, len(values), 10):
        values[place] += 500

    assert trend(TIMES, values).per_hour == pytest.approx(12.0, abs=1.5)


def test_the_interval_is_as_wide_as_the_noise() -> None:
    quiet, loud = trend(TIMES, noisy(0.0, 0.1)), trend(TIMES, noisy(0.0, 10.0))

    assert loud.high - loud.low > 20 * (quiet.high - quiet.low)


@pytest.mark.parametrize("per_hour", [0.0, 12.0, -12.0])
def test_the_interval_holds_the_true_slope_nineteen_times_in_twenty(per_hour: float) -> None:
    found = [trend(TIMES, noisy(per_hour, 2.0, seed)) for seed in range(40)]

    assert sum(each.low <= per_hour <= each.high for each in found) >= 33


def test_noise_alone_is_no_growth() -> None:
    saw = [100.0 + 8 * (at_s % 90) / 90 for at_s in TIMES]

    assert not trend(TIMES, saw).grows(bound=0.0)


def test_growth_counts_when_it_is_above_the_bound_and_above_the_noise() -> None:
    line = trend(TIMES, noisy(20.0, 0.5))

    assert line.grows(bound=5.0)
    assert not line.grows(bound=30.0)
    assert not trend(TIMES, noisy(20.0, 500.0)).grows(bound=5.0)


def test_a_single_step_is_no_leak_of_files() -> None:
    """Such as a connection that was opened once and is kept."""
    assert not trend(TIMES, [20.0] * 16 + [21.0] * 50).grows(FILES_AN_HOUR)


def test_a_file_left_open_by_one_in_a_hundred_sessions_is_found() -> None:
    assert trend(TIMES, [20.0 + int(at_s / 200) for at_s in TIMES]).grows(FILES_AN_HOUR)


def test_fewer_than_four_points_have_no_slope() -> None:
    with pytest.raises(ValueError, match="needs 4 points"):
        trend([0, 1, 2], [0, 1, 2])


def samples(api_mib_an_hour: float = 0.0, files_an_hour: float = 0.0, keys_an_hour: float = 0.0) -> list[Sample]:
    return [
        Sample(
            at_s,
            {"api": 90 + api_mib_an_hour * at_s / 3600, "kept of calls in Redis": at_s},
            {"api": 30 + round(files_an_hour * at_s / 3600)},
            {"session:": 90 + round(keys_an_hour * at_s / 3600), "turns:": int(at_s)},
        )
        for at_s in TIMES
    ]


def test_a_system_in_which_nothing_grows_breaks_nothing() -> None:
    assert broken(judge(samples())) == {
        "memory is flat": [],
        "no file descriptor is left open": [],
        "Redis's keys are bounded": [],
    }


@pytest.mark.parametrize(
    ("grown", "promise", "words"),
    [
        (samples(api_mib_an_hour=20), "memory is flat", "api rises by 20 MiB an hour"),
        (samples(files_an_hour=200), "no file descriptor is left open", "api rises by"),
        (samples(keys_an_hour=1800), "Redis's keys are bounded", "session: rises by"),
    ],
)
def test_what_grows_is_named(grown: list[Sample], promise: str, words: str) -> None:
    found = broken(judge(grown))

    assert [name for name, wrong in found.items() if wrong] == [promise]
    assert found[promise][0].startswith(words)


def test_what_is_kept_for_longer_than_the_run_is_shown_and_not_judged() -> None:
    rows = {(row.what, row.unit): row for row in judge(samples())}

    assert rows["turns:", "keys"].trend.per_hour > 1000
    assert rows["turns:", "keys"].held


def collected(per_hour: float) -> list[Sample]:
    """A heap that grows for four minutes at a time and is collected, whatever stays of it."""
    return [Sample(at_s, {"livekit": 170 + at_s % 240 / 20 + per_hour * at_s / 3600}) for at_s in TIMES]


def test_a_heap_that_is_collected_is_flat_unless_it_goes_higher_each_time() -> None:
    assert broken(judge(collected(0.0)))["memory is flat"] == []
    assert broken(judge(collected(40.0)))["memory is flat"] != []


def test_a_series_that_comes_late_counts_as_nothing_before() -> None:
    late = samples()
    late[-1].keys["reply:"] = 1

    assert {row.what for row in judge(late)} >= {"reply:"}


@pytest.mark.parametrize(
    ("key", "counted_as"),
    [
        ("session:prewarm_1", "session:"),
        ("turns:prewarm_1", "turns:"),
        ("user:abc:sessions", "user:"),
        ("host:h1:commands", "host:"),
        ("pool:ready", "single keys"),
        ("sessions:ended", "single keys"),
        ("unacked_index", "broker"),
        ("redbeat:refill", "broker"),
    ],
)
def test_keys_are_counted_by_family(key: str, counted_as: str) -> None:
    assert family(key) == counted_as


def test_a_short_run_has_a_short_warm_up() -> None:
    assert Plan(2, 12).warm_up_s == 60
    assert Plan(15, 60).warm_up_s == 450
    assert Plan(60, 60).warm_up_s == 480
