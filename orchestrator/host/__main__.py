"""``python -m orchestrator.host``: the host daemon."""

from __future__ import annotations

import asyncio
import sys

from orchestrator.bootstrap import build, set_up_logging
from orchestrator.host.daemon import AlreadyRunningError, HostDaemon
from orchestrator.settings import Settings, SettingsError, load_settings


async def _run(settings: Settings) -> None:
    await HostDaemon(build(settings)).run()


def main() -> None:
    """Read the settings, serve, and exit with one clear line when that cannot be."""
    try:
        settings = load_settings()
        set_up_logging(settings, "host")
        asyncio.run(_run(settings))
    except (SettingsError, AlreadyRunningError) as error:
        sys.exit(f"greenroom host: {error}")


if __name__ == "__main__":
    main()
