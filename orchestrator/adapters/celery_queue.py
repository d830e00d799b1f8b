"""Work for the workers, through Celery. The queues, their options and the tasks' names are defined here once.

Producers and consumers must declare a host's queue alike: a producer without ``expires`` would make a permanent one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from celery import Celery
from kombu import Queue
from kombu.exceptions import OperationalError

from contract import tracing
from contract.keys import DEFAULT_KIND
from orchestrator.domain.errors import QueueUnavailableError

URGENT_QUEUE = "urgent"
"""What users wait for and any worker can do: the look for lost hosts. Workers look here first."""
SPAWN_QUEUE = "spawn"
"""Agents of the default kind that a user waits for. Another kind's are in ``spawn.<kind>``."""
POOL_QUEUE = "pool"
"""The refills, of all kinds at once: any worker can do them."""
REFILL_QUEUE = "refill"
"""Agents of the default kind for the pool. Another kind's are in ``refill.<kind>``."""
MAINTENANCE_QUEUE = "maintenance"
HOST_QUEUE_EXPIRES_S = 300.0
QUEUED_AT = "greenroom_queued_at"
"""A message's header: when it was queued, in Unix seconds. Beat's own have none."""

SPAWN_TASK = "greenroom.spawn_agent"
REFILL_TASK = "greenroom.refill_pool"
REAP_TASK = "greenroom.reap_stale_sessions"
CHECK_HOSTS_TASK = "greenroom.check_hosts"
CHECK_AGENTS_TASK = "greenroom.check_agents"
REPLACE_LOST_TASK = "greenroom.replace_lost"
ROLL_OUT_TASK = "greenroom.roll_out"

EXPIRES_S = 300.0
"""How long a message of ours waits for a worker, so that one that was away wakes to no backlog without end.

Long beside the periods: it is one machine's clock that sets it and another's that judges it. Where they differ by more,
a worker throws away all that the other queues.
"""
REPLACE_LOST_EVERY_S = 2.5
"""So that a host is found lost at most that long after ``HOST_LOST_S``. A look takes a few milliseconds."""
ROLL_OUT_EVERY_S = 2.0


def shared_queue(name: str) -> Queue:
    """A queue that several workers consume. Bound by its own name: Celery's default binds all to one key."""
    return Queue(name, routing_key=name)


def host_queue(host: str) -> Queue:
    """The queue that only the worker on this host's machine consumes."""
    return Queue(f"host.{host}", routing_key=f"host.{host}", expires=HOST_QUEUE_EXPIRES_S)


def spawn_queue(kind: str, *, urgent: bool) -> Queue:
    """The queue of one kind's spawns, which only workers that serve it consume."""
    name = SPAWN_QUEUE if urgent else REFILL_QUEUE
    return shared_queue(name if kind == DEFAULT_KIND else f"{name}.{kind}")


def consumed(kinds: Sequence[str], host: str) -> list[Queue]:
    """What the worker on this host's machine consumes, in the order in which it looks: users before the pool."""
    return [*_shared(kinds), host_queue(host)]


def shared_names(kinds: Sequence[str]) -> list[str]:
    """The names of all queues that several workers may consume."""
    return [queue.name for queue in _shared(kinds)]


def _shared(kinds: Sequence[str]) -> list[Queue]:
    return [
        shared_queue(URGENT_QUEUE),
        *(spawn_queue(kind, urgent=True) for kind in kinds),
        shared_queue(POOL_QUEUE),
        *(spawn_queue(kind, urgent=False) for kind in kinds),
        shared_queue(MAINTENANCE_QUEUE),
    ]


class CeleryQueue:
    """``ports.TaskQueue`` on Celery."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    async def spawn(self, session_id: str, *, urgent: bool, kind: str = DEFAULT_KIND) -> None:
        """See ``ports.TaskQueue``."""
        await self._send(SPAWN_TASK, args=[session_id], queue=spawn_queue(kind, urgent=urgent))

    async def refill(self, *, delay_s: float = 0.0) -> None:
        """See ``ports.TaskQueue``."""
        later = {"countdown": delay_s} if delay_s else {}
        await self._send(REFILL_TASK, queue=shared_queue(POOL_QUEUE), expires=delay_s + EXPIRES_S, **later)

    async def check_host(self, host: str) -> None:
        """See ``ports.TaskQueue``."""
        await self._send(CHECK_AGENTS_TASK, queue=host_queue(host), expires=EXPIRES_S)

    async def _send(self, task: str, **options: Any) -> None:
        # Celery publishes synchronously: in a thread, so that no request waits for it.
        headers: dict[str, Any] = {QUEUED_AT: time.time()}
        if here := tracing.carried():
            headers["traceparent"] = here
        try:
            await asyncio.to_thread(
                self._app.send_task, task, ignore_result=True, retry=False, headers=headers, **options
            )
        except (OperationalError, OSError) as error:
            raise QueueUnavailableError from error
