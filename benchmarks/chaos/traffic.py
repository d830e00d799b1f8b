"""Users who come at fixed times, whatever became of those before them."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Callable
from time import monotonic

import httpx

from benchmarks.chaos.visit import Visit, Visitor

QUESTIONS = (2, 5)
MOST_AT_ONCE = 6
"""What two cores carry beside everything else; one who comes then is counted and not let in."""
LAST_OUT_S = 240.0


class Traffic:
    """All visits of a run, oldest first.

    ``questions`` is how many a user asks, from and to; ``silent`` the share of users who only type and read. Who comes
    while ``most_at_once`` are there is not let in; with ``patient`` they wait outside until somebody leaves, in the
    order in which they came.
    """

    def __init__(
        self,
        url: str,
        seed: int,
        every_s: float,
        *,
        questions: tuple[int, int] = QUESTIONS,
        most_at_once: int = MOST_AT_ONCE,
        keyed: bool = True,
        silent: float = 0.0,
        patient: bool = False,
    ) -> None:
        self._url = url
        self._every_s = every_s
        self._questions = questions
        self._most_at_once = most_at_once
        self._patient = patient
        self._door = asyncio.Semaphore(most_at_once)
        self._keyed = keyed
        self._silent = silent
        self._rhythm = random.Random(seed)
        self._http: httpx.AsyncClient | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.visits: list[Visit] = []
        self.not_let_in = 0
        self.outside_s: dict[int, float] = {}
        """How long each of those who had to wait outside did, by the number of the visit."""

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Users come until the end of the block; who is there then leaves in their own time."""
        limits = httpx.Limits(max_keepalive_connections=0)  # as many browsers, not one
        async with httpx.AsyncClient(base_url=self._url, timeout=10, limits=limits, trust_env=False) as self._http:
            coming = asyncio.create_task(self._come())
            try:
                yield
                coming.cancel()
                if self._tasks:
                    await asyncio.wait(self._tasks, timeout=LAST_OUT_S)
            finally:
                coming.cancel()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(coming, *self._tasks, return_exceptions=True)

    async def one_in(self, phase: str, timeout_s: float = 30.0) -> Visit | None:
        """The visit in this phase that has most to ask yet, as soon as there is one; None when none comes."""
        deadline = monotonic() + timeout_s
        while monotonic() < deadline:
            found = [visit for visit in self.visits if visit.phase == phase and visit.session_id]
            if found:
                return max(found, key=lambda visit: visit.questions - visit.answers)
            await asyncio.sleep(0.01)
        return None

    def some(self, count: int) -> Callable[[], bool]:
        """Whether so many users have come to their end."""
        return lambda: sum(visit.ended_at is not None for visit in self.visits) >= count

    async def _come(self) -> None:
        began = monotonic()
        for number in range(1_000_000):
            await asyncio.sleep(max(0.0, began + number * self._every_s - monotonic()))
            if len(self._tasks) >= self._most_at_once and not self._patient:
                self.not_let_in += 1
                continue
            assert self._http is not None
            visit = Visit(number, self._rhythm.randint(*self._questions), self._rhythm.random() < 0.5, self._keyed)
            visit.sound = self._silent == 0 or self._rhythm.random() >= self._silent
            self.visits.append(visit)
            task = asyncio.create_task(self._visit(Visitor(self._http, visit, self._rhythm)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _visit(self, visitor: Visitor) -> None:
        came_at, waits = monotonic(), self._door.locked()
        async with self._door:
            if waits:
                visitor.visit.began_at = monotonic()
                self.outside_s[visitor.visit.number] = monotonic() - came_at
            await visitor.run()
