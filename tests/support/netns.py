"""Machines in network namespaces of this one: a switch, who is plugged into it, and cables that can be pulled.

The switch is a bridge in the hub's namespace, so that no firewall of this machine's stands between the namespaces. This
machine has a leg on it: tests and benchmarks reach what runs inside from outside.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from tests.support.servers import Place, missing

SWITCH = "switch"
PREFIX = "198.18"
"""RFC 2544: for tests of networks, and used by none."""


@dataclass(frozen=True)
class Network:
    """The hub (address .1), so many machines (from .2), and this machine (.254), on one switch."""

    name: str
    hub: Place
    machines: tuple[Place, ...]

    def cut(self, machine: Place) -> None:
        """Let nothing through to this machine, nor from it. Its own interface stays up, as behind a broken switch."""
        ip("-n", _namespace(self.hub), "link", "set", _port(machine), "nomaster")

    def mend(self, machine: Place) -> None:
        """Let everything through again."""
        ip("-n", _namespace(self.hub), "link", "set", _port(machine), "master", SWITCH)


@contextlib.contextmanager
def network(machines: int) -> Iterator[Network]:
    """So many machines beside a hub; whatever happens, nothing of it is left.

    Fails in CI, and skips elsewhere, where this process may make no namespaces.
    """
    _require_namespaces()
    name, subnet = f"gr{os.getpid()}", _free_subnet()
    hub = Place(f"{subnet}.1", SWITCH, _enter(f"{name}-hub"))
    others = tuple(Place(f"{subnet}.{n + 2}", f"m{n}", _enter(f"{name}-m{n}")) for n in range(machines))
    made = Network(name, hub, others)
    try:
        _build(made)
        yield made
    finally:
        _remove(made)


def _build(network: Network) -> None:
    hub = _namespace(network.hub)
    for place in (network.hub, *network.machines):
        ip("netns", "add", _namespace(place))
        ip("-n", _namespace(place), "link", "set", "lo", "up")
    ip("-n", hub, "link", "add", SWITCH, "type", "bridge")
    _address(network.hub, SWITCH)
    for machine in network.machines:
        inside = ("type", "veth", "peer", "name", machine.interface, "netns", _namespace(machine))
        ip("-n", hub, "link", "add", _port(machine), *inside)
        _plug_in(hub, _port(machine))
        _address(machine, machine.interface)
    ip("link", "add", network.name, "type", "veth", "peer", "name", "outside", "netns", hub)
    _plug_in(hub, "outside")
    ip("address", "add", f"{network.hub.address.rpartition('.')[0]}.254/24", "dev", network.name)
    ip("link", "set", network.name, "up")


def _plug_in(hub: str, port: str) -> None:
    ip("-n", hub, "link", "set", port, "master", SWITCH, "up")


def _address(place: Place, interface: str) -> None:
    ip("-n", _namespace(place), "address", "add", f"{place.address}/24", "dev", interface)
    ip("-n", _namespace(place), "link", "set", interface, "up")


def _remove(network: Network) -> None:
    """Also what was built by half; what is not there is no error."""
    _ip("link", "delete", network.name)
    for place in (network.hub, *network.machines):
        _ip("netns", "delete", _namespace(place))


def ip(*words: str) -> None:
    """Run ``ip``.

    Raises:
        OSError: it failed; the message says why.
    """
    done = _ip(*words)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


def _ip(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["ip", *words], check=False, capture_output=True, text=True)


def _require_namespaces() -> None:
    if shutil.which("ip") is None:
        missing("ip", "apt-get install iproute2")
    probe = f"gr{os.getpid()}-probe"
    try:
        ip("netns", "add", probe)
        ip("-n", probe, "link", "add", SWITCH, "type", "bridge")
        ip("-n", probe, "link", "add", "one", "type", "veth", "peer", "name", "other")
    except OSError as error:
        missing(f"the right to make network namespaces ({error})", "run as root, on a kernel with bridge and veth")
    finally:
        _ip("netns", "delete", probe)


def _free_subnet() -> str:
    """The first three numbers of a /24 that no interface of this machine has."""
    for offset in range(250):
        subnet = f"{PREFIX}.{(os.getpid() + offset) % 250}"
        if not _ip("route", "show", f"{subnet}.0/24").stdout.strip():
            return subnet
    raise OSError(f"every network of {PREFIX}.0.0/16 is in use")


def _enter(namespace: str) -> tuple[str, ...]:
    return ("ip", "netns", "exec", namespace)


def _namespace(place: Place) -> str:
    return place.enter[-1]


def _port(machine: Place) -> str:
    """The switch's end of its cable."""
    return machine.interface
