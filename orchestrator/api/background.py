"""Work that no answer waits for."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import structlog

from orchestrator.domain.errors import GreenroomError

log = structlog.get_logger("greenroom.api")

CLOSE_TIMEOUT_S = 2.0


class Background:
    """Holds its tasks strongly (asyncio itself does not), and says in the log when one failed."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def run(self, what: str, work: Coroutine[Any, Any, object]) -> None:
        """Begin ``work``; its failure is logged and nothing else."""
        task = asyncio.get_running_loop().create_task(_logged(what, work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def aclose(self) -> None:
        """Wait a moment for what is under way, then end it."""
        if not self._tasks:
            return
        _, late = await asyncio.wait(self._tasks, timeout=CLOSE_TIMEOUT_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)


async def ended(task: asyncio.Task[None]) -> None:
    """End a task. The Redis driver now and then swallows a cancellation that comes with a reply: it is asked again."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.5)


async def _logged(what: str, work: Coroutine[Any, Any, object]) -> None:
    try:
        await work
    except GreenroomError as error:
        log.warning("background work failed", what=what, reason=error.detail)
    except Exception:
        log.exception("background work failed", what=what)
