"""A command's environment: what is set, else what ``.env`` says, else what fits one machine."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.console import CommandError

if TYPE_CHECKING:
    from orchestrator.settings import Settings

REDIS_PORT = 6390
"""Not 6379: a Redis that the system starts for itself is often there."""
LIVEKIT_PORT = 7880
LIVEKIT_PORTS = 3
"""HTTP and WebSocket; then WebRTC over TCP; then WebRTC over UDP."""

PROVIDERS = {
    "ASSEMBLY_API_KEY": "speech to text (AssemblyAI)",
    "GROQ_API_KEY": "the language model (Groq)",
    "INWORLD_API_KEY": "text to speech (Inworld)",
}
"""The keys with which an agent has real voices; with none of them it is an offline demonstration."""


@dataclass(frozen=True)
class LocalServers:
    """Which servers ``greenroom run`` starts itself, and where; None for one that the environment names."""

    redis_port: int | None
    livekit_port: int | None


def load(folder: Path | None = None) -> Settings:
    """Complete this process's environment from ``.env``, and read the settings.

    Raises:
        CommandError: a setting is wrong, with its name and what it should be.
    """
    merge_dotenv((folder or Path.cwd()) / ".env", os.environ)
    point_at_local_servers(os.environ)
    return read_settings()


def read_settings() -> Settings:
    """Read the settings from this process's environment; an error is one for a person."""
    from orchestrator.settings import SettingsError, load_settings

    try:
        return load_settings()
    except SettingsError as error:
        raise CommandError(str(error)) from None


def merge_dotenv(path: Path, environ: MutableMapping[str, str]) -> None:
    """Take from ``path`` what the environment does not set; an empty variable counts as not set."""
    for name, value in read_dotenv(path).items():
        if value and not environ.get(name):
            environ[name] = value


def read_dotenv(path: Path) -> dict[str, str]:
    """Return the names and values of a ``.env`` file; none when there is no file.

    Raises:
        CommandError: it cannot be read, or a line is not ``NAME=value``.
    """
    from dotenv.parser import parse_stream

    try:
        with path.open(encoding="utf-8") as stream:
            bindings = list(parse_stream(stream))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{path} cannot be read ({error}): make it readable, or remove it") from None
    for binding in bindings:
        if binding.error or (binding.key and binding.value is None):
            raise CommandError(f"{path}, line {binding.original.line}: should be NAME=value")
    return {binding.key: binding.value or "" for binding in bindings if binding.key}


def create_dotenv(path: Path, environ: Mapping[str, str]) -> bool:
    """Write a ``.env`` with generated secrets, readable by its owner only; never over one that exists."""
    if path.exists():
        return False
    lines = ["# Made by `greenroom run`. Every other setting is in .env.example; the environment wins over this."]
    if not environ.get("LIVEKIT_URL"):  # another's server has its own keys: made-up ones would only be refused
        lines += [
            f"LIVEKIT_API_KEY=key{secrets.token_hex(6)}",
            f"LIVEKIT_API_SECRET={secrets.token_urlsafe(36)}",
        ]
    lines += [f"ADMIN_TOKEN={secrets.token_urlsafe(32)}"]
    return _write_once(path, "\n".join(lines) + "\n")


def _write_once(path: Path, text: str) -> bool:
    draft = path.with_name(f".env.{os.getpid()}.new")
    try:
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as out:
            out.write(text)
        os.link(draft, path)  # whole or not at all, and the first of two writers wins
    except FileExistsError:
        return False
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}): start in a folder you can write") from None
    finally:
        draft.unlink(missing_ok=True)
    return True


def require_livekit_keys(path: Path, environ: Mapping[str, str]) -> None:
    """Refuse to go on without LiveKit's keys: a file that somebody wrote is never added to."""
    absent = [name for name in ("LIVEKIT_API_KEY", "LIVEKIT_API_SECRET") if not environ.get(name)]
    if not absent:
        return
    if environ.get("LIVEKIT_URL"):
        remedy = "LIVEKIT_URL is set, so set them to the keys of that server"
    else:
        remedy = f"add them to {path}, or move that file away to have them generated"
    raise CommandError(f"{' and '.join(absent)} not set: {remedy}")


def point_at_local_servers(environ: MutableMapping[str, str]) -> LocalServers:
    """Set the addresses that the environment leaves to us, and say which servers are then ours."""
    redis_port = livekit_port = None
    if not environ.get("REDIS_URL"):
        redis_port = port_of(environ, "REDIS_PORT", REDIS_PORT)
        environ["REDIS_URL"] = f"redis://127.0.0.1:{redis_port}/0"
    if not environ.get("LIVEKIT_URL"):
        livekit_port = port_of(environ, "LIVEKIT_PORT", LIVEKIT_PORT, last=65535 - LIVEKIT_PORTS + 1)
        environ["LIVEKIT_URL"] = f"ws://127.0.0.1:{livekit_port}"
    return LocalServers(redis_port, livekit_port)


def port_of(environ: Mapping[str, str], name: str, default: int, *, last: int = 65535) -> int:
    """Read a port from the environment."""
    value = environ.get(name) or str(default)
    if value.isascii() and value.isdigit() and 1 <= int(value) <= last:
        return int(value)
    raise CommandError(f"{name}: should be a port from 1 to {last}, not {value!r}")


def host_name() -> str:
    """Return the name of this machine, as a host id may be written."""
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "localhost"


def is_loopback(bind: str) -> bool:
    """Tell whether only this machine can reach what listens on ``bind``."""
    try:
        return ipaddress.ip_address(bind).is_loopback
    except ValueError:
        return bind == "localhost"


def reachable_at(bind: str) -> str:
    """The address by which this machine reaches what listens on ``bind``, as an URL's host."""
    try:
        address = ipaddress.ip_address(bind)
    except ValueError:
        return bind
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return str(address) if address.version == 4 else f"[{address}]"
