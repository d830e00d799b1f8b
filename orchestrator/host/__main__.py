"""``python -m orchestrator.host [--drain-on-term]``: the host daemon."""

from __future__ import annotations

import argparse
import asyncio
import sys

from contract import tracing
from contract.prctl import hide
from orchestrator import open_files
from orchestrator.bootstrap import build
from orchestrator.domain.errors import HostIdTakenError
from orchestrator.host import heap
from orchestrator.host.daemon import AlreadyRunningError, HostDaemon
from orchestrator.logs import set_up_logging
from orchestrator.settings import Settings, SettingsError, load_settings


async def _run(settings: Settings) -> None:
    await HostDaemon(build(settings)).run()


def main() -> None:
    """Read the settings, serve, and exit with one clear line when that cannot be."""
    hide()
    heap.share_one()
    open_files.may_be_many()
    options = argparse.ArgumentParser(prog="python -m orchestrator.host", description="The host daemon.")
    options.add_argument("--drain-on-term", action="store_true", help="as DRAIN_ON_TERM=true: let calls end first")
    given = options.parse_args()
    try:
        settings = load_settings(**({"drain_on_term": True} if given.drain_on_term else {}))
        set_up_logging(settings, "host")
        tracing.begin(settings.otel_exporter_otlp_endpoint, "host", host=settings.host_id)
        asyncio.run(_run(settings))
        tracing.end()
    except (SettingsError, AlreadyRunningError, HostIdTakenError) as error:
        sys.exit(f"greenroom host: {error}")


if __name__ == "__main__":
    main()
