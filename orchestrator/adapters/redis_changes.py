"""Notices that sessions changed, over one subscription for each process, while somebody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import structlog

from contract import keys
from orchestrator.adapters.redis_client import Client, connect_subscriber, translated
from orchestrator.domain.backoff import Backoff
from orchestrator.domain.errors import StoreUnavailableError

log = structlog.get_logger("greenroom.store")

IDS_KEPT = 200
"""Changed sessions that one listener is told by name."""
AGAIN = Backoff(base_s=0.2, cap_s=2.0, tries=6)
SILENCE_S = 5.0
"""Without news for so long, the subscription looks whether anybody still listens."""


class ChangeListener:
    """``ports.Listener``."""

    def __init__(self) -> None:
        self._woken = asyncio.Event()
        self._ids: dict[str, None] = {}  # in the order in which they came
        self._more = False

    def tell(self, session_id: str) -> None:
        """This session changed."""
        if len(self._ids) < IDS_KEPT or session_id in self._ids:
            self._ids[session_id] = None
        else:
            self._more = True
        self._woken.set()

    def tell_unknown(self) -> None:
        """Anything may have changed."""
        self._more = True
        self._woken.set()

    async def wait(self, timeout_s: float) -> None:
        """See ``ports.Listener``."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._woken.wait()
        self._woken.clear()

    def heard(self) -> tuple[list[str], bool]:
        """See ``ports.Listener``."""
        ids, more = list(self._ids), self._more
        self._ids, self._more = {}, False
        self._woken.clear()
        return ids, more


class RedisChanges:
    """``ports.Changes`` on Redis's publish and subscribe."""

    def __init__(self, client: Client) -> None:
        self._client = connect_subscriber(client)
        self._listeners: dict[str | None, set[ChangeListener]] = {}
        self._subscription: asyncio.Task[None] | None = None
        self._ending: set[asyncio.Task[None]] = set()

    @contextmanager
    def listen(self, session_id: str | None = None) -> Iterator[ChangeListener]:
        """See ``ports.Changes``."""
        listener = ChangeListener()
        self._listeners.setdefault(session_id, set()).add(listener)
        if self._subscription is None:
            self._subscription = asyncio.get_running_loop().create_task(self._subscribed())
        try:
            yield listener
        finally:
            self._forget(session_id, listener)

    async def aclose(self) -> None:
        """End the subscription and close its connection."""
        self._end_subscription()
        while self._ending:
            # The driver now and then swallows a cancellation that comes with a message: ask again.
            for task in self._ending:
                task.cancel()
            await asyncio.wait(self._ending, timeout=0.5)
        await self._client.aclose()

    def _forget(self, session_id: str | None, listener: ChangeListener) -> None:
        listeners = self._listeners[session_id]
        listeners.discard(listener)
        if not listeners:
            del self._listeners[session_id]
        if not self._listeners:
            self._end_subscription()

    def _end_subscription(self) -> None:
        task, self._subscription = self._subscription, None
        if task is not None and not task.done():
            self._ending.add(task)
            task.add_done_callback(self._ending.discard)
            task.cancel()

    async def _subscribed(self) -> None:
        """Hear for as long as anybody listens, also after Redis was away."""
        attempt = 0
        while self._is_current():
            try:
                async with self._client.pubsub() as pubsub:
                    with translated():
                        await pubsub.subscribe(keys.SESSION_CHANGED)
                        attempt = 0
                        await self._hear(pubsub)
            except StoreUnavailableError:
                attempt += 1
                await asyncio.sleep(AGAIN.delay_s(min(attempt, AGAIN.tries - 1), jitter=1.0) or AGAIN.cap_s)
            except Exception:
                log.exception("the subscription broke")
                await asyncio.sleep(AGAIN.cap_s)

    async def _hear(self, pubsub: Any) -> None:
        while self._is_current():
            message = await pubsub.get_message(timeout=SILENCE_S)
            if message is None:
                continue
            if message["type"] == "message":
                self._tell(message["data"])
            elif message["type"] == "subscribe":
                self._tell_unknown()  # what happened before this moment was not heard

    def _is_current(self) -> bool:
        return asyncio.current_task() is self._subscription

    def _tell(self, session_id: str) -> None:
        for listener in (*self._listeners.get(session_id, ()), *self._listeners.get(None, ())):
            listener.tell(session_id)

    def _tell_unknown(self) -> None:
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.tell_unknown()
