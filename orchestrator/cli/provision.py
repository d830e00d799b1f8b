"""Everything that a run needs before its programs start: environment, ports, Redis, LiveKit, configuration."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli import environment, livekit_server, redis_server
from orchestrator.cli.console import CommandError, step
from orchestrator.cli.environment import LIVEKIT_PORTS, LocalServers
from orchestrator.cli.home import Home
from orchestrator.cli.ports import Wanted, check_free

if TYPE_CHECKING:
    from orchestrator.settings import Settings

CONFIG = "supervisord.conf"
HOST_END_S = 30
"""Above the time that ending every agent and its room takes."""


def read_environment(folder: Path) -> tuple[Settings, LocalServers]:
    """Complete the environment, with a new ``.env`` if there is none, and read the settings.

    Raises:
        CommandError: a setting is missing or wrong.
    """
    dotenv = folder / ".env"
    if environment.create_dotenv(dotenv, os.environ):
        step(f"made {dotenv} with generated secrets")
    environment.merge_dotenv(dotenv, os.environ)
    environment.require_livekit_keys(dotenv, os.environ)
    servers = environment.point_at_local_servers(os.environ)
    if not os.environ.get("ALLOW_CLIENT_PROMPTS"):
        os.environ["ALLOW_CLIENT_PROMPTS"] = "true"
    if not os.environ.get("HOST_ID") and not os.environ.get("RAILWAY_REPLICA_ID"):
        os.environ["HOST_ID"] = environment.host_name()
    return environment.read_settings(), servers


def program_environment(home: Home, settings: Settings, environ: Mapping[str, str]) -> dict[str, str]:
    """Return what supervisord and its programs inherit."""
    return dict(environ) | {
        "GREENROOM_HOME": str(home.path),
        "HOST_ID": settings.host_id,
        "BIND": settings.bind,
        "PORT": str(settings.port),
        # supervisord.conf names programs without a folder: those of this installation come first.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{environ.get('PATH', os.defpath)}",
        "PYTHONUNBUFFERED": "1",
        "HOST_STOP_S": str(host_stop_s(settings)),
    }


def host_stop_s(settings: Settings) -> int:
    """The seconds that a host may take to end: its agents and rooms, and before that its calls where it drains."""
    return HOST_END_S + (ceil(settings.drain_timeout_s) if settings.drain_on_term else 0)


def provision(home: Home, settings: Settings, servers: LocalServers) -> Path:
    """Check or prepare Redis and LiveKit, and return supervisord's configuration.

    Raises:
        CommandError: a port is taken, a server cannot be had, or one that is not ours does not answer.
    """
    check_free(wanted_ports(settings, servers))
    for stale in home.sections.glob("*.conf"):
        stale.unlink()
    _provide_redis(home, settings, servers)
    _provide_livekit(home, settings, servers)
    return Path(shutil.copyfile(config_source(), home.path / CONFIG))


def wanted_ports(settings: Settings, servers: LocalServers) -> list[Wanted]:
    """List the ports that this run's programs will listen on."""
    ports = [Wanted("PORT", settings.port, settings.bind)]
    if servers.redis_port is not None:
        ports.append(Wanted("REDIS_PORT", servers.redis_port, "127.0.0.1"))
    if servers.livekit_port is not None:
        bind = "127.0.0.1" if environment.is_loopback(settings.bind) else "0.0.0.0"  # noqa: S104
        for offset in range(LIVEKIT_PORTS):
            udp = offset == LIVEKIT_PORTS - 1
            ports.append(Wanted("LIVEKIT_PORT", servers.livekit_port + offset, bind, udp=udp))
    return ports


def _provide_redis(home: Home, settings: Settings, servers: LocalServers) -> None:
    if servers.redis_port is None:
        redis_server.check(settings.redis_url)
        step("Redis: the one of REDIS_URL answers")
        return
    binary = redis_server.write(home, servers.redis_port)
    step(f"Redis: {binary} on port {servers.redis_port}")


def _provide_livekit(home: Home, settings: Settings, servers: LocalServers) -> None:
    if servers.livekit_port is None:
        secret = settings.livekit_api_secret.get_secret_value()
        livekit_server.check(settings.livekit_url, settings.livekit_api_key, secret)
        step("LiveKit: the server of LIVEKIT_URL answers and accepts the key")
        return
    binary = livekit_server.write(home, settings, servers.livekit_port)
    last = servers.livekit_port + LIVEKIT_PORTS - 1
    step(f"LiveKit: {binary} on ports {servers.livekit_port} to {last}")


def config_source() -> Path:
    """``supervisord.conf``: at the top of a checkout, and beside the packages when installed."""
    path = Path(__file__).parents[2] / CONFIG
    if not path.exists():
        raise CommandError(f"{CONFIG} is missing from this installation: install Greenroom again")
    return path
