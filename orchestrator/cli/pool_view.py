"""How ``greenroom status`` and ``greenroom logs`` look."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.markup import escape
from rich.table import Table

COLOURS = {"ready": "green", "active": "cyan", "starting": "yellow", "failed": "red", "ended": "dim"}
WIDE_COLUMNS = 120
"""A session's id takes 50 of them and must not be cut: it is what the other commands are given."""
NO_NOISE = frozenset({"timestamp", "level", "event", "at", "text", "message", "session_id"})


@dataclass(frozen=True)
class Overview:
    """What the API says of everything, as it says it."""

    health: Mapping[str, Any]
    pool: Mapping[str, Any]
    hosts: Sequence[Mapping[str, Any]]
    sessions: Sequence[Mapping[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """For programs; without the ``success`` of each answer."""
        return {
            "health": _bare(self.health),
            "pool": _bare(self.pool),
            "hosts": asdict(self)["hosts"],
            "sessions": asdict(self)["sessions"],
        }


def drawn(overview: Overview, columns: int) -> RenderableType:
    """For people, on a terminal of so many columns."""
    wide = columns >= WIDE_COLUMNS
    hosts, sessions = _hosts(overview.hosts, wide=wide), _sessions(overview.sessions, wide=wide)
    kinds = [_kinds(overview.pool["agents"])] if _has_several(overview.pool) else []
    return Group(_health(overview.health), _pool(overview.pool), *kinds, hosts, sessions)


def log_line(line: Mapping[str, Any]) -> str:
    """One line of an agent: when, how grave, what, and its fields."""
    when = str(line.get("timestamp") or line.get("at") or "")
    words = str(line.get("event") or line.get("text") or line.get("message") or "")
    fields = " ".join(f"{name}={value}" for name, value in line.items() if name not in NO_NOISE)
    return " ".join(part for part in (when, str(line.get("level", "")), words, fields) if part)


def _has_several(pool: Mapping[str, Any]) -> bool:
    """Whether there are several kinds of agents: each then has a row of its own."""
    return len(pool.get("agents", ())) > 1


def _bare(answer: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in answer.items() if name != "success"}


def _health(health: Mapping[str, Any]) -> str:
    if health.get("status") == "healthy":
        return "[bold green]healthy[/]"
    if health.get("status") == "degraded":
        return f"[bold yellow]degraded:[/] {escape(str(health.get('reason')))}"
    return f"[bold red]unhealthy:[/] {escape(str(health.get('reason')))}"


def _pool(pool: Mapping[str, Any]) -> str:
    why = "" if _has_several(pool) else f"\n      {escape(pool['reason'])}"
    state = "[green]converged[/]" if pool["converged"] else "[yellow]on its way[/]"
    return (
        f"[bold]pool[/]  {pool['ready']} of {pool['target']} ready, {pool['starting']} starting,"
        f" {pool['waiting']} waiting for capacity, {pool['max']} agents at most: {state}{why}"
    )


def _kinds(pools: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = _table("agent", "ready", "starting", "at most", "", "why")
    for pool in pools:
        table.add_row(
            escape(pool["agent"]),
            f"{pool['ready']} of {pool['target']}",
            str(pool["starting"]),
            str(pool["max"]),
            "[green]converged[/]" if pool["converged"] else "[yellow]on its way[/]",
            escape(pool["reason"]),
        )
    return table


def _hosts(hosts: Sequence[Mapping[str, Any]], *, wide: bool) -> RenderableType:
    more = ("capacity", "limited by", "private memory", "free memory") if wide else ()
    table = _table("host", "", "agents", "warm", *more, "heartbeat", "zygote")
    for host in hosts:
        alive = "[green]alive[/]" if host["alive"] else "[red]lost[/]"
        memory = f"{host['agentPrivateBytes'] / 1e6:.1f} MB", f"{host['memoryAvailableBytes'] / 2**30:.1f} GiB"
        table.add_row(
            escape(host["host"]),
            _drain(host) or alive,
            str(host["agents"]),
            str(host["warm"]),
            *((str(host["capacity"]), escape(host.get("capacityReason") or "-"), *memory) if wide else ()),
            _age(host["heartbeatAgeS"]),
            escape(host["zygote"]),
        )
    return table if hosts else "no host has reported"


def _drain(host: Mapping[str, Any]) -> str | None:
    if not host["draining"]:
        return None
    return "[yellow]drained[/]" if host.get("drained") else "[yellow]draining[/]"


def _sessions(sessions: Sequence[Mapping[str, Any]], *, wide: bool) -> RenderableType:
    table = _table("session", "status", "user", *(("age", "started in", "host", "pid", "why") if wide else ()))
    now = time.time()
    for session in sessions:
        status, startup_s = session["status"], session["startupTime"]
        more = (
            _age(now - session["createdAt"]),
            "-" if startup_s is None else f"{startup_s:.2f} s",
            escape(session["host"] or "-"),
            str(session["agentPid"] or "-"),
            escape(session["error"] or session["endReason"] or ""),
        )
        table.add_row(
            session["sessionId"],
            f"[{COLOURS.get(status, 'white')}]{status}[/]",
            escape(session["userId"] or "-"),
            *(more if wide else ()),
        )
    return table if sessions else "no session yet"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, no_wrap=column in {"session", "status", "host", "heartbeat", "age"})
    return table


def _age(seconds: float) -> str:
    seconds = max(0.0, seconds)
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.0f} h"
