"""Whose start counts against which rate, and how answers say what is left of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

from fastapi import Request

from orchestrator.api.security import ANONYMOUS, Caller
from orchestrator.domain.limits import Counted, Quota, Rate
from orchestrator.services.start import digest
from orchestrator.settings import Settings

IPV6_PREFIX = 64
"""One subscriber has so large a network, and any address in it."""

Address = IPv4Address | IPv6Address

HEADERS: dict[str, Any] = {
    "RateLimit-Policy": {
        "description": 'The rates that starts count against, such as `"user";q=20;w=60`: q starts in w seconds.',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left of each, such as `"user";r=19;t=60`: r starts; in t seconds there are more.',
        "schema": {"type": "string"},
    },
}
"""As draft-ietf-httpapi-ratelimit-headers has them, for the OpenAPI document."""


@dataclass(frozen=True)
class Counting:
    """What the store is told to count for one request."""

    counted: Sequence[Counted]
    owner: str
    most_sessions: int


class StartLimits:
    """The limits of these settings."""

    def __init__(self, settings: Settings) -> None:
        self._user = settings.start_limit_user
        self._tenant = settings.start_limit_tenant
        self._ip = settings.start_limit_ip
        self._most_sessions = settings.max_sessions_per_user
        self._proxies = [ip_network(each) for each in settings.trusted_proxies]

    def of(self, caller: Caller, user_id: str, request: Request) -> Counting:
        """What a start counts against: its user of this caller, and the caller; without one, the address.

        Who presents a token of one user cannot be another one by another ``userId``.
        """
        owner = digest((caller.name if caller.is_user else f"{caller.name}\0{user_id}").encode())
        counted = [Counted("user", owner, self._user)] if self._user else []
        if caller != ANONYMOUS:
            tenant = digest((caller.tenant or caller.name).encode())
            counted += [Counted("tenant", tenant, self._tenant)] if self._tenant else []
        elif self._ip:
            counted.append(Counted("ip", digest(self._network(request).encode()), self._ip))
        return Counting(counted, owner, self._most_sessions)

    def _network(self, request: Request) -> str:
        """Whose address it is: an IPv4 address, or the network of an IPv6 one."""
        address = client_address(request, self._proxies)
        if isinstance(address, IPv6Address):
            return str(ip_network((address, IPV6_PREFIX), strict=False))
        return str(address)


def client_address(request: Request, proxies: Sequence[IPv4Network | IPv6Network]) -> Address | None:
    """Where a request comes from; None when that is no IP address (a Unix socket's peer).

    ``X-Forwarded-For`` is read from its end, as far as it was written by proxies that are trusted: what stands before
    that, anybody may have written.
    """
    address = _parsed(request.client.host) if request.client else None
    if not proxies or address is None or not _is_one_of(address, proxies):
        return address
    hops = ",".join(request.headers.getlist("x-forwarded-for")).split(",")
    for hop in reversed(hops):
        named = _parsed(hop.strip())
        if named is None:
            break
        address = named
        if not _is_one_of(named, proxies):
            break
    return address


def quota_headers(quotas: Sequence[Quota]) -> dict[str, str]:
    """The ``RateLimit`` fields; none where nothing was counted."""
    if not quotas:
        return {}
    left = ", ".join(f'"{quota.name}";r={quota.remaining};t={quota.reset_s}' for quota in quotas)
    return {"RateLimit-Policy": _policy(tuple((quota.name, quota.rate) for quota in quotas)), "RateLimit": left}


@lru_cache(maxsize=16)
def _policy(rates: tuple[tuple[str, Rate], ...]) -> str:
    return ", ".join(f'"{name}";q={rate.amount};w={rate.window_s}' for name, rate in rates)


def _parsed(text: str) -> Address | None:
    """An address, as proxies write it: with a port, or an IPv6 one in brackets, too."""
    bare = text[1:].partition("]")[0] if text.startswith("[") else text
    if bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        address = ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    # A socket for both families names an IPv4 peer so.
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _is_one_of(address: Address, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    return any(address in network for network in networks if network.version == address.version)


def documented(responses: Mapping[int | str, dict[str, Any]]) -> dict[int | str, dict[str, Any]]:
    """These responses, with the fields that they carry."""
    return {
        status: {**answer, "headers": {**answer.get("headers", {}), **HEADERS}} for status, answer in responses.items()
    }
