"""A system, a Prometheus and a steady stream of calls; then every panel's and every alert's value, as a table.

``python -m benchmarks.observe`` (``make observe``). Ends with 1 when a panel has no data or an alert fires.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.support.call import calling
from tests.support.prometheus import MISSING, Prometheus, is_installed
from tests.support.promql import alerts, panel_queries, selectors_of
from tests.support.system import System, running_system

SENTENCES = ("what time is it", "tell me a joke", "count to three")
AT_ONCE = 2
"""Calls: what two cores carry beside everything else."""
PRICES = '{"offline.tts_characters": 0.00001, "offline.stt_seconds": 0.00004}'
"""The offline voice costs nothing; these are near what the default providers charge."""
SAMPLES_S = 15.0
"""For the last calls to be scraped."""


def main() -> int:
    """Returns the exit code."""
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--seconds", type=float, default=120.0, help="how long calls come")
    seconds = options.parse_args().seconds
    if not is_installed():
        print(f"greenroom: {MISSING}", file=sys.stderr)  # before a whole system is started for nothing
        return 1
    logging.getLogger("livekit").setLevel(logging.CRITICAL)
    console = Console(width=160)
    with (
        tempfile.TemporaryDirectory(prefix="greenroom-observe-") as folder,
        running_system(Path(folder) / "system", PRICES=PRICES) as system,
    ):
        prometheus = Prometheus(Path(folder) / "prometheus", f"127.0.0.1:{system.port}").start()
        try:
            console.print(f"calls for {seconds:g} s, {AT_ONCE} at a time …")
            calls = asyncio.run(_stream(system, seconds))
            time.sleep(SAMPLES_S)
            console.print(f"{calls} calls")
            return _tell(console, prometheus)
        finally:
            prometheus.stop()


async def _stream(system: System, seconds: float) -> int:
    until = time.monotonic() + seconds
    return sum(await asyncio.gather(*(_callers(system, f"caller{number}", until) for number in range(AT_ONCE))))


async def _callers(system: System, user: str, until: float) -> int:
    """One caller after the other; returns how many there were."""
    calls = 0
    while time.monotonic() < until:
        async with calling(system, user) as call:
            call.post_timeline()
            for sentence in SENTENCES:
                await call.ask(sentence)
        calls += 1
    return calls


def _tell(console: Console, prometheus: Prometheus) -> int:
    panels = {place: _values(prometheus, expr) for place, expr in panel_queries().items()}
    console.print(_table(("panel", "value"), list(panels.items())))
    states = prometheus.alerts()
    rows = []
    for rule in alerts():
        looks_at = "; ".join(f"{each} = {_values(prometheus, each)}" for each in sorted(selectors_of(rule.expr)))
        rows.append((rule.name, states.get(rule.name, "quiet"), looks_at))
    console.print(_table(("alert", "state", "looks at"), rows))
    empty = [place for place, value in panels.items() if value == NOTHING]
    firing = [name for name, state in states.items() if state == "firing"]
    console.print(
        f"{len(panels)} queries of panels, {len(empty)} without data; {len(rows)} alerts, {len(firing)} firing"
    )
    return 1 if empty or firing else 0


NOTHING = "no data"
MOST_SHOWN = 4


def _values(prometheus: Prometheus, expr: str) -> str:
    found = prometheus.query(expr)
    shown = []
    for each in found[:MOST_SHOWN]:
        labels = ",".join(value for name, value in each["metric"].items() if name not in IN_EVERY_SERIES)
        shown.append(f"{labels or 'all'} {float(each['value'][1]):.4g}")
    more = f" … {len(found)} in all" if len(found) > MOST_SHOWN else ""
    return ", ".join(shown) + more if found else NOTHING


IN_EVERY_SERIES = frozenset({"__name__", "instance", "job"})


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(*heads)
    for row in rows:
        table.add_row(*row)
    return table


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
