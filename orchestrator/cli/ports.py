"""Whether the ports that are to be listened on are free, before anything is started."""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.cli.console import CommandError


@dataclass(frozen=True)
class Wanted:
    """A port that one of our programs will listen on, and the setting that moves it."""

    setting: str
    number: int
    bind: str
    udp: bool = False


def check_free(wanted: Iterable[Wanted]) -> None:
    """Refuse when two programs want one port, when a port is taken, or when an address is not ours.

    Raises:
        CommandError: with the setting to change.
    """
    seen: dict[int, Wanted] = {}
    for port in wanted:
        other = seen.setdefault(port.number, port)
        if other is not port:
            raise CommandError(
                f"{other.setting} and {port.setting} both need port {port.number}: move one of them"
                " (LIVEKIT_PORT takes three ports in a row)"
            )
        _check(port)


def _check(port: Wanted) -> None:
    try:
        _bind_once(port)
    except socket.gaierror:
        raise CommandError(f"BIND: {port.bind} is no address of this machine") from None
    except OSError as error:
        raise CommandError(_explain(port, error)) from None


def _bind_once(port: Wanted) -> None:
    kind = socket.SOCK_DGRAM if port.udp else socket.SOCK_STREAM
    family, _, _, _, address = socket.getaddrinfo(port.bind, port.number, type=kind)[0]
    with socket.socket(family, kind) as sock:
        if not port.udp:  # else a port that was used a moment ago counts as taken
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        if not port.udp:
            sock.listen(1)


def _explain(port: Wanted, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"port {port.number} is taken{_holder(port)}: end that program, or choose another with {port.setting}=…"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"BIND: {port.bind} is no address of this machine"
    if error.errno == errno.EACCES:
        return f"{port.setting}: port {port.number} needs root: choose one above 1023"
    return f"{port.setting}: port {port.number} cannot be used ({error.strerror})"


def _holder(port: Wanted) -> str:
    """Name the program on the port, where the system lets us see it."""
    import psutil

    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("udp" if port.udp else "tcp"):
            listening = port.udp or connection.status == psutil.CONN_LISTEN
            if listening and connection.laddr and connection.laddr.port == port.number and connection.pid:
                return f" by {psutil.Process(connection.pid).name()} (PID {connection.pid})"
    return ""
