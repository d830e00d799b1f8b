"""The Redis client, its scripts, and the translation of its errors. Nothing else imports ``redis``."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from typing import Any, TypeVar

import structlog
from redis import asyncio as redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.maint_notifications import MaintNotificationsConfig

from contract import keys
from orchestrator.domain.errors import StoreUnavailableError
from orchestrator.domain.session import TRANSITIONS
from orchestrator.redis_address import sentinels_of

log = structlog.get_logger("greenroom.store")

Client = redis.Redis
T = TypeVar("T")

KEEPALIVE = {socket.TCP_KEEPIDLE: 15, socket.TCP_KEEPINTVL: 5, socket.TCP_KEEPCNT: 3}
"""A subscription to a server that vanished is noticed within half a minute."""

SENTINEL_TIMEOUTS = {"socket_timeout": 0.5, "socket_connect_timeout": 0.5}
"""One that is away is passed over: the others know the master, too."""
SOCKET_TIMEOUT_S = 2.0
"""A caller hears that the store is away within this, plus what its own request takes."""


def connect(url: str, *, max_connections: int = 256) -> Client:
    """A client whose commands fail within ``SOCKET_TIMEOUT_S`` and are sent once.

    redis-py resends ten times by default. A command whose reply was lost would then run twice, so only what is
    idempotent is sent again, and by us (``Scripts.again``).
    """
    options: dict[str, Any] = {
        "max_connections": max_connections,
        "timeout": SOCKET_TIMEOUT_S,
        "socket_timeout": SOCKET_TIMEOUT_S,
        "socket_connect_timeout": SOCKET_TIMEOUT_S,
        "health_check_interval": 25,
        "retry": Retry(NoBackoff(), 0),
        # While it listens for a cluster's maintenance, redis-py sends on connections that it knows to be closed.
        "maint_notifications_config": MaintNotificationsConfig(enabled=False),
        "decode_responses": True,
        "encoding_errors": "replace",  # one value that is no text must not hide all others
    }
    sentinels = sentinels_of(url)
    if sentinels is None:
        return Client.from_pool(redis.BlockingConnectionPool.from_url(url, **options))
    of_sentinels = sentinels.of_sentinels | SENTINEL_TIMEOUTS
    manager = Sentinel(sentinels.addresses, sentinel_kwargs=of_sentinels)  # type: ignore[no-untyped-call]
    pool = _MasterPool(sentinels.service, manager, **sentinels.of_servers, **options)  # type: ignore[no-untyped-call]
    return Client.from_pool(pool)


class _MasterPool(SentinelConnectionPool, redis.BlockingConnectionPool):
    """Connections to whichever server the sentinels call the master; who finds none free waits for one."""

    async def aclose(self) -> None:
        """Close these connections, and those to the sentinels."""
        await super().aclose()
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


def connect_subscriber(client: Client) -> Client:
    """A client of the same server with connections of its own: a subscription holds one for as long as it lasts.

    It waits for news without an end, so the kernel watches whether the other side is still there.
    """
    pool = client.connection_pool
    options = pool.connection_kwargs | {"socket_keepalive": True, "socket_keepalive_options": KEEPALIVE}
    if not issubclass(pool.connection_class, redis.Connection):  # a Unix socket, or the tests' own
        options = pool.connection_kwargs
    return Client.from_pool(redis.ConnectionPool(connection_class=pool.connection_class, **options))


async def let_sockets_close() -> None:
    """Have a loop that did not run for a while notice which servers hung up meanwhile; for the first step of a run.

    The client sends on a pooled connection unless its reader is at its end, and only a running loop brings it there:
    without this, the first command after a restart of Redis fails in every process that runs a loop for each task.
    """
    for _ in range(2):  # the first looks at the sockets, the second runs what they called
        await asyncio.sleep(0)


@contextmanager
def translated() -> Iterator[None]:
    """Turn what the driver raises into ``StoreUnavailableError``."""
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        if isinstance(error, ResponseError):
            # It is there and refused: out of memory, read-only, or a fault of a script. Callers can only try again.
            log.exception("redis refused a command", reason=str(error)[:500])
        raise StoreUnavailableError from error


async def again(call: Callable[[], Awaitable[T]]) -> T:
    """Run what is idempotent, once more if its connection broke (not if it timed out)."""
    with translated():
        try:
            return await call()
        except RedisTimeoutError:
            raise
        except (RedisConnectionError, ConnectionError) as error:
            if isinstance(error.__cause__, TimeoutError):
                raise  # no connection came free in time: waiting once more would only take as long again
            return await call()


async def information(client: Client, section: str) -> Mapping[str, Any]:
    """What the server says of itself; nothing where it does not let itself be asked."""
    with translated():
        try:
            found: Mapping[str, Any] = await client.info(section)
        except ResponseError:
            return {}
    return found


USES = {
    "claim": ("_limits", "_arrivals"),
    "reserve_cold": ("_limits", "_arrivals", "_breaker"),
    "note_measured": ("_voice",),
    "settle": ("_voice",),
    "rollout_look": ("_rollout",),
    "rollout_recycle": ("_rollout",),
    **dict.fromkeys(("reserve_warm", "dispatch", "begin_spawn", "snapshot"), ("_breaker",)),
}
"""What is put before a script, after the prelude."""


@cache
def _source(name: str) -> str:
    folder = files("orchestrator.adapters") / "lua"
    allowed = ", ".join(f"['{a}>{b}'] = true" for a, targets in TRANSITIONS.items() for b in sorted(targets))
    constants = (
        f"local ALLOWED, CHANGED = {{{allowed}}}, '{keys.SESSION_CHANGED}'\n",
        f"local OWNED_S, COMMANDS_S = {keys.OWNED_S}, {keys.COMMANDS_S}\n",
        f"local DEMAND_SLOT_S, ARRIVAL_SLOTS = {keys.DEMAND_SLOT_S}, {keys.ARRIVAL_SLOTS}\n",
        f"local STATS_CALL_RECENT = '{keys.STATS_CALL_RECENT}'\n",
        f"local DEFAULT_KIND, POOL_AGENTS = '{keys.DEFAULT_KIND}', '{keys.POOL_AGENTS}'\n",
    )
    parts = ("_prelude", *USES.get(name, ()), name)
    return "".join((*constants, *((folder / f"{part}.lua").read_text() for part in parts)))


class Scripts:
    """The Lua scripts of one client. Each is given the shared keys first, then its own."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._scripts: dict[str, Any] = {}

    async def run(self, name: str, own_keys: Sequence[str] = (), args: Sequence[object] = ()) -> Any:
        """Run a script that must not run twice.

        Raises:
            StoreUnavailableError: no answer in time.
        """
        with translated():
            return await self._call(name, own_keys, args)

    async def again(self, name: str, own_keys: Sequence[str] = (), args: Sequence[object] = ()) -> Any:
        """Run an idempotent script, once more if its connection broke."""
        return await again(lambda: self._call(name, own_keys, args))

    def _call(self, name: str, own_keys: Sequence[str], args: Sequence[object]) -> Awaitable[Any]:
        script = self._scripts.get(name)
        if script is None:
            script = self._scripts[name] = self._client.register_script(_source(name))
        texts = ["" if arg is None else str(arg) for arg in args]
        call: Awaitable[Any] = script(keys=[*keys.SHARED, *own_keys], args=texts)
        return call
