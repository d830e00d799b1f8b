"""What a PromQL query asks for: its metrics, read off its text; and the rules and panels that have one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from deploy.grafana.panels import BOARDS

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
TEXTS = re.compile(r'"[^"]*"')
MATCHERS = re.compile(r"\{[^}]*\}")
RANGES = re.compile(r"\[[^\]]*\]")
GROUPS = re.compile(r"\b(by|on|without|ignoring|group_left|group_right)\s*\([^)]*\)")
NAMES = re.compile(r"(?<![\w:.])[a-zA-Z_:][a-zA-Z0-9_:]*(?!\s*\(|[a-zA-Z0-9_:])")
WORDS = {"and", "or", "unless", "bool", "offset", "inf", "nan"}


@dataclass(frozen=True)
class Rule:
    """One rule of ``rules.yml`` or ``alerts.yml``."""

    name: str
    expr: str
    content: dict[str, Any]

    @property
    def is_alert(self) -> bool:
        return "alert" in self.content


def rules() -> list[Rule]:
    found = []
    for file in ("rules.yml", "alerts.yml"):
        for group in yaml.safe_load((PROMETHEUS / file).read_text())["groups"]:
            found += [Rule(each.get("alert") or each["record"], each["expr"], each) for each in group["rules"]]
    return found


def alerts() -> list[Rule]:
    return [rule for rule in rules() if rule.is_alert]


def panel_queries() -> dict[str, str]:
    """By where it is: every query of every panel."""
    return {
        f"{board.title} / {panel.title} / {query.legend}": query.expr
        for board in BOARDS
        for panel in board.panels
        for query in panel.queries
    }


def metrics_of(expr: str) -> set[str]:
    """The metrics that a query names."""
    for part in (TEXTS, MATCHERS, RANGES, GROUPS):
        expr = part.sub(" ", expr)
    return {name for name in NAMES.findall(expr) if name.lower() not in WORDS}


def selectors_of(expr: str) -> set[str]:
    """The instant vectors that a query is made of, each a query of its own that must find something."""
    plain = RANGES.sub("", expr)
    found = set()
    for name in metrics_of(expr):
        found |= set(re.findall(rf"(?<![\w:]){re.escape(name)}(?![\w:])(?:\{{[^}}]*\}})?", plain))
    return found
