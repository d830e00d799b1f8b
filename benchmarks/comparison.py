"""One table of Greenroom beside the alternatives, from the JSON of the benchmarks that measured both in one run.

``python -m benchmarks.comparison`` reads what ``alternatives``, ``open_loop`` and ``claims`` wrote, measures nothing,
and writes ``benchmarks/results/comparison.json``.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.report import RESULTS, percentile, write_result
from benchmarks.targets import FASTER, GREENROOM, HELD_RATE, START_P99_MS, WORKER

BURSTS = (1, 10, 30)
STATES = {"warm_s": "warm", "used_up_s": "used up"}


@dataclass(frozen=True)
class Figure:
    """What one way was seen to do. Times are of those who were served."""

    p50: float | None
    p99: float | None
    unit: str
    users: int = 0
    unserved: int = 0

    def __str__(self) -> str:
        if self.p50 is None:
            return f"none of {self.users} served"
        times = f"{self.p50:.4g}" if self.p99 is None else f"{self.p50:.4g} / {self.p99:.4g}"
        never = f", {self.unserved} of {self.users} never served" if self.unserved else ""
        return f"{times} {self.unit}".strip() + never


@dataclass(frozen=True)
class Row:
    """Greenroom beside one alternative, or beside a number that it must keep to."""

    what: str
    ours: Figure
    against: str
    theirs: Figure | None
    target: str = ""
    held: bool | None = None

    @property
    def ratio(self) -> float | None:
        """The alternative's p50 in ours; None when one of them served nobody."""
        if self.theirs is None or not self.theirs.p50 or not self.ours.p50:
            return None
        return self.theirs.p50 / self.ours.p50


def main() -> None:
    """Print the table and write the JSON."""
    names = [*(f"alternatives_{size}" for size in BURSTS), "open_loop", "claims"]
    found = {name: json.loads((RESULTS / f"{name}.json").read_text()) for name in names if _is_there(name)}
    rows = list(compare(found))
    Console(width=150).print(_table(rows))
    for name, document in found.items():
        print(f"{name}: {document['command']}, load before {document['machine']['load_before']}")
    for name in sorted(set(names) - set(found)):
        print(f"{name}: not measured yet")
    document = {"benchmark": "comparison", "command": "python -m benchmarks.comparison"}
    written = [asdict(row) | {"ratio": row.ratio} for row in rows]
    runs = {name: {key: one[key] for key in ("command", "machine", "at")} for name, one in found.items()}
    write_result("comparison", document | {"runs": runs, "rows": written})


def compare(found: Mapping[str, Mapping[str, Any]]) -> Iterator[Row]:
    """The rows, from the benchmarks' documents by name; a missing one has none."""
    for size in BURSTS:
        if document := found.get(f"alternatives_{size}"):
            yield from _bursts(document["raw"])
    if document := found.get("alternatives_10"):
        yield from _memory(document["raw"]["ways"])
    if document := found.get("open_loop"):
        yield from _open_loop(document["raw"])
    if document := found.get("claims"):
        yield from _claims(document["raw"])


def times(waited_s: Sequence[float | None]) -> Figure:
    """Of users' waiting, None for those who were never served; in ms."""
    served_ms = [s * 1000 for s in waited_s if s is not None]
    unserved = len(waited_s) - len(served_ms)
    if not served_ms:
        return Figure(None, None, "ms", len(waited_s), unserved)
    return Figure(percentile(served_ms, 0.5), percentile(served_ms, 0.99), "ms", len(waited_s), unserved)


def _bursts(raw: Mapping[str, Any]) -> Iterator[Row]:
    ways = raw["ways"]
    yield Row(f"a user's own join, {raw['size']} at once, without an agent", times(raw["joins_s"]), "", None)
    for state, words in STATES.items():
        ours = times(ways[GREENROOM][state])
        for name, way in ways.items():
            if name == GREENROOM or not way[state]:
                continue
            row = Row(f"click to agent seen, {raw['size']} at once, {words}", ours, name, times(way[state]))
            yield _held_to(row) if words == "warm" and name == WORKER else row


def _held_to(row: Row) -> Row:
    held = row.ours.unserved == 0 and (row.ratio is None or row.ratio >= FASTER)
    return replace(row, target=f"{FASTER:g} times, none unserved", held=held)


def _memory(ways: Mapping[str, Any]) -> Iterator[Row]:
    for key, words in (("idle_mb", "waiting"), ("session_mb", "in a session")):
        for name, way in ways.items():
            if name != GREENROOM and way[key]:
                ours, theirs = (Figure(statistics.median(one[key]), None, "MB") for one in (ways[GREENROOM], way))
                yield Row(f"private memory of an agent, {words}", ours, name, theirs)


def _open_loop(raw: Mapping[str, Any]) -> Iterator[Row]:
    for rate, ours in raw["greenroom"].items():
        row = Row(f"a start, {rate} a second, open loop", _start(ours), "bare FastAPI, SPOP", _start(raw["bare"][rate]))
        if int(rate) == HELD_RATE:
            held = ours["p99"] < START_P99_MS and ours["failed"] == 0
            row = replace(row, target=f"p99 under {START_P99_MS:g} ms", held=held)
        yield row


def _start(one: Mapping[str, Any]) -> Figure:
    return Figure(one["p50"], one["p99"], "ms", one["starts"], one["failed"])


def _claims(raw: Mapping[str, Any]) -> Iterator[Row]:
    for key, words in (("double", "assigned twice"), ("leaked", "leaked")):
        ours = Figure(raw[key], None, "")
        yield Row(f"{raw['claims']:,} claims, answers dropped: {words}", ours, "", None, "0", raw[key] == 0)


def _table(rows: Sequence[Row]) -> Table:
    table = Table(title="Greenroom beside the alternatives: p50 / p99, ratio of p50")
    for column in ("what", GREENROOM, "against", "its figure", "ratio", "target", ""):
        table.add_column(column, justify="right" if column == "ratio" else "left")
    for row in rows:
        ratio = "" if row.ratio is None else f"{row.ratio:.2g}x"
        verdict = {True: "held", False: "MISSED", None: ""}[row.held]
        table.add_row(row.what, str(row.ours), row.against, str(row.theirs or ""), ratio, row.target, verdict)
    return table


def _is_there(name: str) -> bool:
    return (RESULTS / f"{name}.json").exists()


if __name__ == "__main__":
    main()
