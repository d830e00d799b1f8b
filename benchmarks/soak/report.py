"""What a run says: a table for people, JSON for later."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.report import machine, print_promises, write_result
from benchmarks.soak.run import Outcome
from benchmarks.soak.verdict import Judged


def publish(outcome: Outcome, command: str) -> None:
    """Print the table and write ``benchmarks/results/soak.json``."""
    console = Console()
    console.print(_table(outcome, command))
    console.print(f"users: {outcome.users}; outside: {outcome.outside}; they noticed: {outcome.noticed or 'nothing'}")
    print_promises(console, outcome.promises)
    write_result("soak", _document(outcome, command))


def _table(outcome: Outcome, command: str) -> Table:
    table = Table(title=f"soak ({command})")
    for column in ("what", "median", "an hour", "within (95 %)", "may", ""):
        table.add_column(column, justify="left" if column in {"what", ""} else "right")
    for each in outcome.judged:
        line = each.trend
        bound = "" if each.bound is None else f"+{each.bound:.3g}"
        verdict = "one for each session" if each.bound is None else "flat" if each.held else "GROWS"
        between = f"{line.low:+.3g} … {line.high:+.3g}"
        table.add_row(each.what, f"{line.level:.4g} {each.unit}", f"{line.per_hour:+.3g}", between, bound, verdict)
    return table


def _document(outcome: Outcome, command: str) -> dict[str, Any]:
    return {
        "benchmark": "soak",
        "command": command,
        "machine": machine(),
        "at": int(time.time()),
        "plan": asdict(outcome.plan) | {"warm_up_s": outcome.plan.warm_up_s},
        "series": [_row(each) for each in outcome.judged],
        "users": outcome.users,
        "outside": outcome.outside,
        "outside_s": {number: round(waited, 2) for number, waited in outcome.outside_s.items()},
        "noticed": outcome.noticed,
        "promises": outcome.promises,
        "samples": [_rounded(asdict(sample)) for sample in outcome.samples],
    }


def _row(each: Judged) -> dict[str, Any]:
    line = {name: round(value, 4) for name, value in asdict(each.trend).items()}
    return {"what": each.what, "unit": each.unit, **line, "bound_per_hour": each.bound, "held": each.held}


def _rounded(sample: dict[str, Any]) -> dict[str, Any]:
    memory = {name: round(mib, 3) for name, mib in sample["memory"].items()}
    return sample | {"at_s": round(sample["at_s"], 1), "memory": memory}
