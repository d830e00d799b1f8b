"""Compose files as Docker would read them: variables put in, each service's environment, image and health check."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

TREE = Path(__file__).parents[2]
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rest>:[-+?][^}]*)?\}")
SECONDS = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True)
class ComposeFile:
    """One file of the tree."""

    name: str

    @property
    def text(self) -> str:
        return (TREE / self.name).read_text()

    @property
    def variables(self) -> set[str]:
        """What it takes from .env: put into values, or handed on as they are."""
        put_in = {found["name"] for found in VARIABLE.finditer(self.text)}
        environments = [service["environment"] for service in self.services(dict.fromkeys(put_in, "x")).values()]
        return put_in | {name for given in environments for name, value in given.items() if value is None}

    @property
    def wanted(self) -> set[str]:
        """Those without which Docker refuses the file."""
        return {found["name"] for found in VARIABLE.finditer(self.text) if (found["rest"] or "").startswith(":?")}

    def document(self, given: Mapping[str, str]) -> dict[str, Any]:
        """The whole file with these variables in it."""
        text = VARIABLE.sub(lambda found: _put_in(found, given.get(found["name"], "")), self.text)
        document = yaml.safe_load(text.replace("$$", "$"))
        assert isinstance(document, dict)
        return document

    def services(self, given: Mapping[str, str]) -> dict[str, dict[str, Any]]:
        """Its services; each has an ``environment``."""
        return {
            name: service | {"environment": service.get("environment") or {}}
            for name, service in self.document(given)["services"].items()
        }

    def of_ours(self, given: Mapping[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
        """Those that run Dockerfile.orchestrator."""
        for name, service in self.services(given).items():
            if service.get("build", {}).get("dockerfile") == "Dockerfile.orchestrator":
                yield name, service


def _put_in(found: re.Match[str], value: str) -> str:
    rest = found["rest"] or ""
    if rest.startswith(":+"):
        return rest[2:] if value else ""
    return value or (rest[2:] if rest.startswith(":-") else "")


def seconds(duration: str) -> int:
    """A duration as Compose writes it: ``62m``, ``1h2m``."""
    return sum(int(number) * SECONDS[unit] for number, unit in re.findall(r"(\d+)([smh])", duration))


def image_environment() -> dict[str, str]:
    """What Dockerfile.orchestrator's last stage sets."""
    stage = (TREE / "Dockerfile.orchestrator").read_text().rpartition("\nFROM ")[2].replace("\\\n", "")
    return dict(re.findall(r"(\w+)=(\S+)", " ".join(re.findall(r"^ENV (.*)$", stage, re.MULTILINE))))
