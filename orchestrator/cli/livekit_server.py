"""LiveKit: the one that ``LIVEKIT_URL`` names, else one of our own from the path or the cache."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import console
from orchestrator.cli.console import CommandError
from orchestrator.cli.environment import is_loopback, reachable_at
from orchestrator.cli.home import Home, section

if TYPE_CHECKING:
    from orchestrator.settings import Settings

VERSION = "1.11.0"


def cached_binary() -> Path:
    """Return where the server that we built is kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    return cache / "greenroom" / f"livekit-server-{VERSION}" / "livekit-server"


def find_binary() -> Path:
    """Return livekit-server from the path, else from the cache, else build it there."""
    on_path = shutil.which("livekit-server")
    if on_path:
        return Path(on_path)
    binary = cached_binary()
    if not binary.exists():
        from orchestrator.cli.livekit_build import build

        build(binary, VERSION)
    return binary


def fetch_livekit() -> None:
    """Have a livekit-server on this machine: from the path, from the cache, else built with Go."""
    console.step(f"livekit-server: {find_binary()}")


def config(settings: Settings, port: int) -> str:
    """Return the configuration as JSON, which is YAML with nothing to escape wrongly."""
    return json.dumps(
        {
            "port": port,
            "bind_addresses": ["127.0.0.1" if is_loopback(settings.bind) else ""],
            "logging": {"level": "warn", "json": True},
            "rtc": _rtc(settings.bind, port),
            # Rooms are made by us: a token that outlives its session must not open its room again.
            "room": {"auto_create": False},
            "keys": {settings.livekit_api_key: settings.livekit_api_secret.get_secret_value()},
            "webhook": {
                "api_key": settings.livekit_api_key,
                "urls": [f"http://{reachable_at(settings.bind)}:{settings.port}/api/livekit/webhook"],
            },
        },
        indent=2,
    )


def _rtc(bind: str, port: int) -> dict[str, object]:
    rtc: dict[str, object] = {"tcp_port": port + 1, "udp_port": port + 2, "use_external_ip": False}
    if is_loopback(bind):
        rtc |= {
            "tcp_port": 0,  # LiveKit listens for media over TCP on every interface, whatever it is bound to
            "node_ip": "127.0.0.1",
            "interfaces": {"includes": ["lo"]},
            "enable_loopback_candidate": True,
        }
    return rtc


def write(home: Home, settings: Settings, port: int) -> Path:
    """Write the configuration and supervisord's section; return the binary that will run."""
    binary = find_binary()
    path = home.path / "livekit.yaml"
    path.touch(mode=0o600)  # it holds the secret
    path.write_text(config(settings, port))
    text = section("livekit", [str(binary), "--config", str(path)], priority=10, stop_wait_s=5)
    (home.sections / "livekit.conf").write_text(text)
    return binary


def check(url: str, key: str, secret: str) -> None:
    """Reach the LiveKit that ``LIVEKIT_URL`` names, with our key.

    Raises:
        CommandError: it does not answer, or refuses the key.
    """
    import asyncio

    asyncio.run(_list_rooms(url, key, secret))


async def _list_rooms(url: str, key: str, secret: str) -> None:
    import aiohttp
    from livekit import api

    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session,
            api.LiveKitAPI(url, key, secret, session=session) as livekit,
        ):
            await livekit.room.list_rooms(api.ListRoomsRequest())
    except api.TwirpError as error:
        if error.status in (401, 403):
            raise CommandError(
                f"LIVEKIT_API_KEY: the LiveKit server at {url} refused the key or its secret:"
                " set LIVEKIT_API_KEY and LIVEKIT_API_SECRET to a pair that it knows"
            ) from None
        raise CommandError(f"LIVEKIT_URL: {url} answered {error.status} {error.message}") from None
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error) or "no answer in 10 s"
        raise CommandError(
            f"LIVEKIT_URL: no LiveKit server answers at {url} ({reason}):"
            " start it, mend LIVEKIT_URL, or unset it to have one started"
        ) from None
