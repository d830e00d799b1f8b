"""A real Prometheus, with the rules that are deployed, over one API."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from tests.support.promql import PROMETHEUS
from tests.support.servers import Program, free_port, wait_until

READY_S = 60.0
MISSING = "prometheus is missing: install it (Debian: apt-get install prometheus)"


def is_installed() -> bool:
    """Whether one can be started here."""
    return shutil.which("prometheus") is not None


@dataclass
class Prometheus:
    """Scrapes ``target`` (host and port), and keeps what it saw in ``folder``."""

    folder: Path
    target: str
    scrape_s: float = 3.0
    """Above the 2.5 s that an API takes to say that Redis does not answer."""
    port: int = field(default_factory=free_port)
    program: Program | None = None

    def start(self) -> Prometheus:
        """Start it, and wait until it answers."""
        assert is_installed(), MISSING
        self.folder.mkdir(parents=True, exist_ok=True)
        configuration = self.folder / "prometheus.yml"
        configuration.write_text(yaml.safe_dump(self._configuration()))
        argv = [
            "prometheus", f"--config.file={configuration}", f"--storage.tsdb.path={self.folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{self.port}", "--log.level=warn",
        ]  # fmt: skip
        self.program = Program(argv, self.folder / "prometheus.log").start()
        wait_until(self._is_ready, timeout_s=READY_S, what="Prometheus is ready")
        return self

    def stop(self) -> None:
        """End it."""
        if self.program is not None:
            self.program.stop()

    def query(self, expr: str) -> list[dict[str, Any]]:
        """The instant vector of a query, without what is not a number: that is no data."""
        answer = httpx.get(f"{self._url}/api/v1/query", params={"query": expr}, timeout=20, trust_env=False).json()
        assert answer["status"] == "success", answer
        return [each for each in answer["data"]["result"] if each["value"][1] != "NaN"]

    def value(self, expr: str) -> float | None:
        """The first value of a query; None when it finds nothing."""
        found = self.query(expr)
        return float(found[0]["value"][1]) if found else None

    def alerts(self) -> dict[str, str]:
        """The state (``pending`` or ``firing``) of each alert that is not quiet."""
        answer = httpx.get(f"{self._url}/api/v1/alerts", timeout=20, trust_env=False).json()
        return {each["labels"]["alertname"]: each["state"] for each in answer["data"]["alerts"]}

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"{self._url}/-/ready", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def _configuration(self) -> dict[str, Any]:
        """What is deployed, but for where the API is and how often it is asked; alerts are told to nobody."""
        deployed: dict[str, Any] = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
        every = f"{int(self.scrape_s * 1000)}ms"
        deployed["global"] = {"scrape_interval": every, "evaluation_interval": every, "scrape_timeout": every}
        deployed["rule_files"] = [str(PROMETHEUS / name) for name in deployed["rule_files"]]
        del deployed["alerting"]
        [job] = deployed["scrape_configs"]
        del job["dns_sd_configs"]
        job["static_configs"] = [{"targets": [self.target]}]
        return deployed
