"""The Celery tasks: thin shells over the services. Each worker process keeps one event loop and one container."""

from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from importlib import import_module
from typing import Any, TypeVar

import structlog
from celery import Celery, Task
from celery.signals import setup_logging, worker_init, worker_process_init, worker_process_shutdown

from contract import tracing
from contract.prctl import hide
from orchestrator.adapters import celery_queue as q
from orchestrator.adapters.redis_client import let_sockets_close
from orchestrator.bootstrap import Container, build
from orchestrator.domain.errors import GreenroomError
from orchestrator.logs import set_up_logging
from orchestrator.services.spawn import TryAgainError
from orchestrator.settings import SettingsError, current_settings

T = TypeVar("T")
log = structlog.get_logger("greenroom.worker")

hide()  # from agents, which run others' code: what is forked here is hidden as well
try:
    settings = current_settings()
except SettingsError as error:
    sys.exit(f"greenroom: {error}")

app = Celery("greenroom")
app.config_from_object("celeryconfig")

MAINTENANCE_LOCK_S = 30.0
AWAY_DELAY_S = 1.0
AWAY_RETRIES = 10
"""Of a spawn that could not begin because the store did not answer."""


class _Process:
    """What one worker process has: made after its fork, closed at its end."""

    def __init__(self) -> None:
        self._runner: asyncio.Runner | None = None
        self._container: Container | None = None

    def run(self, use: Callable[[Container], Awaitable[T]]) -> T:
        """Run a use case on this process's loop."""
        if self._runner is None or self._container is None:
            self._runner = asyncio.Runner()
            self._container = build(settings, q.CeleryQueue(app))
        container = self._container

        async def call() -> T:
            await let_sockets_close()
            return await use(container)

        # A runner keeps the context of its first run: what is bound to this task would be lost.
        return self._runner.run(call(), context=copy_context())

    def forget(self) -> None:
        """Drop what was copied by a fork: it is the parent's to close."""
        self._runner = self._container = None

    def close(self) -> None:
        """Close the clients and the loop."""
        if self._runner is not None and self._container is not None:
            self._runner.run(self._container.aclose())
            self._runner.close()
        self.forget()


_process = _Process()


@setup_logging.connect
def _logging(**_: Any) -> None:
    set_up_logging(settings, "beat" if "beat" in sys.argv else "worker")


@worker_init.connect
def _preload(**_: Any) -> None:
    """Import before the prefork what the first spawn of each process would otherwise wait for."""
    import_module("orchestrator.adapters.livekit_rooms")


@worker_process_init.connect
def _forked(**_: Any) -> None:
    _process.forget()
    _trace_tasks()


@worker_process_shutdown.connect
def _stopped(**_: Any) -> None:
    _process.close()
    tracing.end()


def _trace_tasks() -> None:
    """Have tasks go on with the trace that their message carries, and hand it on in what they queue."""
    provider = tracing.begin(settings.otel_exporter_otlp_endpoint, "worker", host=settings.host_id)
    if provider is None:
        return
    from opentelemetry.instrumentation.celery import CeleryInstrumentor

    CeleryInstrumentor().instrument(tracer_provider=provider)  # type: ignore[no-untyped-call]


@app.task(name=q.SPAWN_TASK, bind=True, max_retries=None)
def spawn_agent(self: Task[Any, Any], session_id: str) -> bool:
    """Have an agent in its room for this session; the session counts its tries."""
    with structlog.contextvars.bound_contextvars(session_id=session_id):
        try:
            return _process.run(lambda c: c.spawner(session_id, self.request.id or ""))
        except TryAgainError as again:
            log.warning("spawn failed; trying again", reason=str(again), delay_s=round(again.delay_s, 3))
            raise self.retry(countdown=again.delay_s, exc=again) from None
        except GreenroomError as error:
            log.warning("spawn not begun", reason=error.detail)
            if self.request.retries < AWAY_RETRIES:
                raise self.retry(countdown=AWAY_DELAY_S, exc=error) from None
            return False  # the deadline that the reservation has makes a refill queue it again


@app.task(name=q.REFILL_TASK)
def refill_pool() -> int:
    """Bring the pool to its target."""
    return _guarded("refill", lambda c: _count(c.pool.refill()), exclusive=False)


@app.task(name=q.REAP_TASK)
def reap_stale_sessions() -> int:
    """End what is inactive, unclaimed or too old, and count the calls that no host counted."""
    return _guarded("reap", _reap)


@app.task(name=q.REPLACE_LOST_TASK)
def replace_lost() -> int:
    """Replace the agents of hosts that are lost."""
    # A worker that is frozen in the middle of it must not keep the others from looking.
    return _guarded("replace-lost", lambda c: _count(c.replacer.look()), lock_s=q.REPLACE_LOST_EVERY_S)


@app.task(name=q.ROLL_OUT_TASK)
def roll_out() -> int:
    """Do the next step of the rollout that is under way, if one is."""
    return _guarded("roll-out", lambda c: _stepped(c.rollout.advance()))


@app.task(name=q.CHECK_HOSTS_TASK)
def check_hosts() -> int:
    """Queue ``check_agents`` on each living host's own queue."""
    return _guarded("check", lambda c: _count(c.pool.check_hosts()))


@app.task(name=q.CHECK_AGENTS_TASK)
def check_agents() -> int:
    """Have this machine's host ping its agents."""
    return _guarded(f"check:{settings.host_id}", lambda c: _count(c.spawner.check()))


async def _reap(container: Container) -> int:
    ended = await container.pool.reap()
    await container.measures.settle_late(await container.store.now())
    return len(ended)


async def _stepped(step: Awaitable[object]) -> int:
    return int(await step is not None)


async def _count(result: Awaitable[list[Any]]) -> int:
    return len(await result)


def _guarded(
    name: str,
    use: Callable[[Container], Awaitable[int]],
    *,
    exclusive: bool = True,
    lock_s: float = MAINTENANCE_LOCK_S,
) -> int:
    """Run a maintenance job, one at a time however many beats there are; a store that is away is tomorrow's work."""

    async def job(container: Container) -> int:
        token = secrets.token_hex(8)
        if exclusive and not await container.store.locked(name, lock_s, token):
            return 0
        try:
            return await use(container)
        finally:
            if exclusive:
                await container.store.unlock(name, token)

    try:
        return _process.run(job)
    except GreenroomError as error:
        log.warning("maintenance put off", job=name, reason=error.detail)
        return 0
