"""Where Redis is: one server, or the sentinels that know which server is the master. Said by one address.

``redis://…`` and ``rediss://…`` are as everywhere. The sentinels and the service that they watch are
``redis+sentinel://[[user]:password@]host:port[,host:port…]/service[/db]``; ``rediss+sentinel`` speaks TLS with the
servers, and plain text with the sentinels. The user and the password are the servers'; ``?sentinel_password=…`` is the
sentinels' own.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

SENTINEL_PORT = 26379
SCHEMES = ("redis", "rediss")
EXAMPLE = "redis://127.0.0.1:6379/0 or redis+sentinel://:password@one:26379,two:26379/mymaster/0"
WRONG = f"should be an address such as {EXAMPLE}"


@dataclass(frozen=True)
class Sentinels:
    """The sentinels of one service."""

    addresses: tuple[tuple[str, int], ...]
    service: str
    db: int
    username: str | None
    password: str | None
    sentinel_password: str | None
    tls: bool

    @property
    def where(self) -> str:
        """For people; without the password."""
        hosts = ", ".join(f"{host}:{port}" for host, port in self.addresses)
        return f"{self.service} of the sentinels {hosts}"

    @property
    def of_sentinels(self) -> dict[str, Any]:
        """What a client tells the sentinels themselves."""
        return {"password": self.sentinel_password} if self.sentinel_password else {}

    @property
    def of_servers(self) -> dict[str, Any]:
        """What a client tells the servers."""
        given = {"username": self.username, "password": self.password, "db": self.db}
        return {name: value for name, value in given.items() if value is not None} | ({"ssl": True} if self.tls else {})

    @property
    def broker_url(self) -> str:
        """As Celery's broker has it: an address for each sentinel, with what the servers are told."""
        who = "" if self.password is None else f"{quote(self.username or '', safe='')}:{quote(self.password, safe='')}@"
        return ";".join(f"sentinel://{who}{host}:{port}/{self.db}" for host, port in self.addresses)

    @property
    def broker_options(self) -> dict[str, Any]:
        """What Celery's broker is told besides."""
        return {"master_name": self.service, "sentinel_kwargs": self.of_sentinels}

    @property
    def beat_options(self) -> dict[str, Any]:
        """What beat's schedule in Redis is told; of TLS it learns by ``broker_use_ssl``."""
        own = {"sentinels": list(self.addresses), "service_name": self.service, "sentinel_kwargs": self.of_sentinels}
        return own | {name: value for name, value in self.of_servers.items() if name != "ssl"}


def check_address(url: str) -> str:
    """Return an address that is one.

    Raises:
        ValueError: it is not; the message says how one looks.
    """
    if sentinels_of(url) is not None:
        return url
    parts = _split(url)
    if parts.scheme not in SCHEMES or not parts.hostname or not _has_port(parts):
        raise ValueError(WRONG)
    if not re.fullmatch(r"/?\d*", parts.path):
        raise ValueError(f"should end with a database's number, as {EXAMPLE} does")
    return url


def sentinels_of(url: str) -> Sentinels | None:
    """The sentinels that an address names; None for one of a server.

    Raises:
        ValueError: it names sentinels, but not as it should; the message says how.
    """
    parts = _split(url)
    if parts.scheme not in ("redis+sentinel", "rediss+sentinel"):
        return None
    if not parts.netloc:
        raise ValueError(WRONG)
    who, _, hosts = parts.netloc.rpartition("@")
    user, _, password = who.partition(":")
    service, _, db = parts.path.strip("/").partition("/")
    if not service or not re.fullmatch(r"\d*", db):
        raise ValueError("should end with the service that the sentinels watch, such as /mymaster or /mymaster/0")
    return Sentinels(
        addresses=tuple(_host_and_port(host) for host in hosts.split(",")),
        service=unquote(service),
        db=int(db or 0),
        username=unquote(user) or None,
        password=unquote(password) or None,
        sentinel_password=parse_qs(parts.query).get("sentinel_password", [None])[0],
        tls=parts.scheme == "rediss+sentinel",
    )


def passwords_in(url: str) -> list[str]:
    """Whatever in an address is a secret, as it is written there and as it is meant."""
    parts = _split(url)
    given = parts.netloc.rpartition("@")[0].partition(":")[2]
    found = [given, *parse_qs(parts.query).get("sentinel_password", [])]
    return [form for each in found if each for form in {each, unquote(each)}]


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:  # not the parser's own words: they quote the address, which may have a password in it
        raise ValueError(WRONG) from None


def _has_port(parts: SplitResult) -> bool:
    with suppress(ValueError):
        return parts.port != 0
    return False


def _host_and_port(text: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[0-9A-Fa-f:.]+\]|[^:\[\]/]+)(?::(\d{1,5}))?", text)
    if found is None:
        raise ValueError("each sentinel should be host:port, with a comma between two")
    return found[1].strip("[]"), int(found[2] or SENTINEL_PORT)
