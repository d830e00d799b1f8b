"""What a run of faults says: a table for people, JSON for later."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.chaos.run import Effect, Outcome
from benchmarks.report import machine, print_promises, write_result


def publish(outcome: Outcome, command: str) -> None:
    """Print the table and write ``benchmarks/results/chaos.json``."""
    console = Console()
    console.print(_table(outcome, command))
    print_promises(console, outcome.promises)
    write_result("chaos", _document(outcome, command))


def _table(outcome: Outcome, command: str) -> Table:
    table = Table(title=f"chaos ({command})", show_lines=True)
    for column in ("fault", "healthy", "pool full", "calls"):
        table.add_column(column, justify="left" if column == "fault" else "right")
    table.add_column("what their users noticed")
    for effect in outcome.effects:
        table.add_row(
            f"{effect.fault.name}\n[dim]{effect.fault.what}[/]",
            f"{effect.recovery_s:.1f} s",
            f"+{effect.pool_s:.1f} s",
            str(effect.touched),
            "\n".join(_noticed(effect)) or "nothing",
        )
    return table


def _noticed(effect: Effect) -> list[str]:
    return [f"{count} users: {what}" if count > 1 else what for what, count in effect.noticed.most_common()]


def _document(outcome: Outcome, command: str) -> dict[str, Any]:
    visits = outcome.traffic.visits if outcome.traffic else []
    return {
        "benchmark": "chaos",
        "command": command,
        "seed": outcome.seed,
        "machine": machine(),
        "at": int(time.time()),
        "faults": [
            {
                "fault": effect.fault.name,
                "what": effect.fault.what,
                "recovery_s": round(effect.recovery_s, 2),
                "pool_full_after_s": round(effect.pool_s, 2),
                "calls_touched": effect.touched,
                "noticed": dict(effect.noticed),
            }
            for effect in outcome.effects
        ],
        "users": {
            "came": len(visits),
            "not_let_in": outcome.traffic.not_let_in if outcome.traffic else 0,
            "outcomes": dict(Counter(str(visit.outcome) for visit in visits)),
            "answers": sum(visit.answers for visit in visits),
            "early_ends": outcome.early_ends,
        },
        "promises": outcome.promises,
    }
