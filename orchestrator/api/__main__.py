"""``python -m orchestrator.api``: the API program, on ``BIND`` and ``PORT``."""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI

from orchestrator import open_files
from orchestrator.api.metrics import Metrics
from orchestrator.api.unfinished import Limits, connections
from orchestrator.settings import Settings, SettingsError, current_settings

STOP_S = 5
"""For answers that are open when the program is told to stop."""


def main() -> None:
    """Read the settings, serve, and exit with one clear line when that cannot be."""
    try:
        settings = current_settings()
    except SettingsError as error:
        sys.exit(f"greenroom: {error}")
    uvicorn.Server(server_config(settings)).run()


def server_config(settings: Settings) -> uvicorn.Config:
    """How uvicorn serves the API."""
    metrics = Metrics()

    def app() -> FastAPI:
        from orchestrator.api.app import create_app

        return create_app(metrics=metrics)

    return uvicorn.Config(
        app,
        factory=True,
        host=listening_host(settings.bind),
        port=settings.port,
        loop="uvloop",
        http=connections(Limits.within(open_files.may_be_many()), metrics.closed),
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
