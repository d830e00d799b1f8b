"""How every benchmark says what it saw: a table, and the same as JSON in ``benchmarks/results/``."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table

RESULTS = Path(__file__).parent / "results"
LOAD_BEFORE = os.getloadavg()[0]
"""When this was imported: what others did on the machine before anything was measured."""
TIMES_BEFORE = psutil.cpu_times()


@dataclass
class Report:
    """One benchmark's figures. ``limit`` is what the figure should not exceed (or fall below, for rates)."""

    name: str
    command: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    raw: dict[str, Any] = field(default_factory=dict)

    def add(
        self, what: str, value: float, unit: str, *, at_most: float | None = None, at_least: float | None = None
    ) -> None:
        """One figure, with what it is held against, if it is held against anything."""
        row: dict[str, Any] = {"what": what, "value": round(value, 4), "unit": unit}
        if at_most is not None:
            row |= {"limit": at_most, "at": "at most", "held": value <= at_most}
        elif at_least is not None:
            row |= {"limit": at_least, "at": "at least", "held": value >= at_least}
        self.rows.append(row)

    def publish(self) -> None:
        """Print the table and write the JSON beside it."""
        table = Table(
            title=f"{self.name} ({self.command}), load before {LOAD_BEFORE:.1f}, stolen {_stolen_percent()} %"
        )
        for column in ("what", "value", "limit", ""):
            table.add_column(column, justify="right" if column in {"value", "limit"} else "left")
        for row in self.rows:
            limit = f"{row['at']} {row['limit']:g} {row['unit']}" if "limit" in row else ""
            verdict = {True: "held", False: "MISSED", None: ""}[row.get("held")]
            table.add_row(row["what"], f"{row['value']:g} {row['unit']}", limit, verdict)
        Console().print(table)
        document = {"benchmark": self.name, "command": self.command, "machine": machine(), "at": int(time.time())}
        write_result(self.name, document | {"figures": self.rows, "raw": self.raw})


def write_result(name: str, document: Mapping[str, Any]) -> None:
    """Keep what one benchmark saw as ``benchmarks/results/<name>.json``."""
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")


def print_promises(console: Console, promises: Mapping[str, Sequence[str]]) -> None:
    """Each promise that a run was held against, and what broke it."""
    for promise, found in promises.items():
        console.print(f"{'BROKEN' if found else 'held  '}  {promise}", style="red" if found else "green")
        for each in found:
            console.print(f"          {each}", markup=False)


def machine() -> dict[str, Any]:
    """What it was measured on."""
    return {
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "python": platform.python_version(),
        "load_before": round(LOAD_BEFORE, 2),
        "stolen_percent": _stolen_percent(),
    }


def _stolen_percent() -> float:
    """Of the processors' time since the import: what the hypervisor gave to other machines (proc(5), steal)."""
    now = psutil.cpu_times()
    stolen = getattr(now, "steal", 0.0) - getattr(TIMES_BEFORE, "steal", 0.0)
    return round(100 * stolen / max(sum(now) - sum(TIMES_BEFORE), 1e-9), 1)


def percentile(values: Sequence[float], share: float) -> float:
    """The nearest-rank percentile."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, max(0, -(-int(share * 100) * len(ordered) // 100) - 1))]
