"""Looking for sessions in Redis, as operators do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client, Scripts, translated
from orchestrator.adapters.redis_records import chunks, cursor_at, parse_cursor, session_of
from orchestrator.domain.errors import InvalidRequestError
from orchestrator.records import Page, QueuedUser, Search, Session, number_in

SEARCH_PART = 500
"""Sessions that one script looks at: it takes Redis a millisecond at most, in which a claim would have to wait."""
SEARCH_PARTS = 40
"""Parts for one page."""


async def records(client: Client, ids: Sequence[str]) -> list[Session]:
    """The sessions of these ids, without those whose record has expired."""
    async with client.pipeline(transaction=False) as pipe:
        for session_id in ids:
            pipe.hgetall(keys.session(session_id))
        with translated():
            rows = await pipe.execute()
    sessions = (session_of(i, fields) for i, fields in zip(ids, rows, strict=True))
    return [session for session in sessions if session is not None]


@dataclass(frozen=True)
class _Place:
    """How far a search has come: behind this id among those of its score; at first before all."""

    state: SessionState
    score: str = "+inf"
    after: str = ""

    @property
    def cursor(self) -> str:
        return cursor_at(self.state, self.score, self.after)


class RedisLookup:
    """``ports.Lookup`` on Redis."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._scripts = Scripts(client)

    async def find(self, states: Sequence[SessionState], search: Search, limit: int, cursor: str | None) -> Page:
        """See ``ports.Lookup``.

        The lists by state are looked through, and no index is kept: an operator looks for a session now and then, but
        an index would be written to at every claim, and would have to be kept in agreement with the lists.
        """
        place: _Place | None = _Place(*parse_cursor(cursor)) if cursor else _Place(states[0])
        if place is not None and place.state not in states:
            raise InvalidRequestError("cursor: it belongs to another list")
        found: list[_Place] = []
        for _ in range(SEARCH_PARTS):
            if place is None or len(found) > limit:
                break
            hits, place = await self._part(states, place, search)
            found += hits
        if len(found) > limit:
            place = found[limit - 1]
        ids = [hit.after for hit in found[:limit]]
        return Page(await records(self._client, ids), place.cursor if place else None)

    async def _part(
        self, states: Sequence[SessionState], place: _Place, search: Search
    ) -> tuple[list[_Place], _Place | None]:
        """Look at the next sessions; returns those found, and where to go on, None at the end."""
        args = [search.id_start, search.user_id, place.score, place.after, SEARCH_PART, search.kind]
        hits, last, score = await self._scripts.again("find", [keys.sessions_in(place.state)], args)
        found = [_Place(place.state, at, session_id) for session_id, at in chunks(hits, 2)]
        if last:
            return found, _Place(place.state, score, last)
        following = states[states.index(place.state) + 1 :]
        return found, _Place(following[0]) if following else None

    async def queue(self, most: int) -> list[QueuedUser]:
        """See ``ports.Lookup``."""
        rows = chunks(await self._scripts.again("queue", [], [most]), 4)
        return [
            QueuedUser(i, user or None, int(place), number_in({"since": since}, "since") or 0.0)
            for i, user, place, since in rows
        ]
