"""``python -m orchestrator.api``: the API program, on ``BIND`` and ``PORT``."""

from __future__ import annotations

import sys

import structlog
import uvicorn
from fastapi import FastAPI

from orchestrator import open_files
from orchestrator.api.connections import connections
from orchestrator.api.metrics import Metrics
from orchestrator.api.unfinished import Limits
from orchestrator.settings import Settings, SettingsError, current_settings

log = structlog.get_logger("greenroom.api")

STOP_S = 5
"""For answers that are open when the program is told to stop."""
WANTED_FILES = 1024
"""For the event streams (500 and 20), Redis's connections (256) and an eighth that wait for their clients."""


def main() -> None:
    """Read the settings, serve, and exit with one clear line when that cannot be."""
    try:
        settings = current_settings()
    except SettingsError as error:
        sys.exit(f"greenroom: {error}")
    uvicorn.Server(server_config(settings, open_files.may_be_many())).run()


def server_config(settings: Settings, files: int) -> uvicorn.Config:
    """How uvicorn serves the API, which may have so many files open."""
    metrics = Metrics()

    def app() -> FastAPI:
        from orchestrator.api.app import create_app

        created = create_app(metrics=metrics)
        if files < WANTED_FILES:
            log.warning("the API may have few files open: see ulimit -Hn", files=files, wanted=WANTED_FILES)
        return created

    return uvicorn.Config(
        app,
        factory=True,
        host=listening_host(settings.bind),
        port=settings.port,
        loop="uvloop",
        http=connections(Limits.within(files), metrics.closed),
        ws="none",  # the API has none, whatever is installed
        access_log=False,
        proxy_headers=False,  # whose headers say where a request comes from is TRUSTED_PROXIES's to say
        timeout_graceful_shutdown=STOP_S,
    )


def listening_host(bind: str) -> str:
    """What the event loop is given: told ``::`` it takes IPv6 alone, told nothing it takes both families.

    Platforms whose private network is of IPv6 want ``::``, and look at the health by IPv4.
    """
    return "" if bind == "::" else bind


if __name__ == "__main__":
    main()
