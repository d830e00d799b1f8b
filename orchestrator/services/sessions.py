"""Look at sessions, end them, and make tokens for their rooms."""

from __future__ import annotations

from collections.abc import Mapping

from contract.messages import Turn
from contract.states import SessionState
from orchestrator.domain.errors import SessionEndedError, SessionNotFoundError
from orchestrator.domain.session import IN_CALL, is_final
from orchestrator.ports import Hosts, Rooms, SessionStore
from orchestrator.records import Finished, Session
from orchestrator.services.pool import KeepPool


class Sessions:
    """The use cases of one session after its start."""

    def __init__(self, store: SessionStore, hosts: Hosts, pool: KeepPool, rooms: Rooms) -> None:
        self._store = store
        self._hosts = hosts
        self._pool = pool
        self._rooms = rooms

    async def get(self, session_id: str) -> Session:
        """One session. Asking keeps a waiting caller's place in the queue.

        Raises:
            SessionNotFoundError: there is none.
        """
        session = await self._existing(session_id)
        if session.state is SessionState.STARTING:
            await self._store.seen(session_id)
        return session

    async def life(self, session_id: str) -> tuple[Session, list[Turn]]:
        """A session and its finished turns, oldest first; none of these when it is long over.

        Raises:
            SessionNotFoundError: there is none.
        """
        return await self._existing(session_id), await self._store.turns(session_id)

    async def end(self, session_id: str, reason: str) -> Finished:
        """End a session; the second time changes nothing.

        Raises:
            SessionNotFoundError: there is none.
        """
        done = await self._store.finish(session_id, SessionState.ENDED, reason)
        if done.previous is None:
            raise SessionNotFoundError
        if done.changed:
            await self._pool.trigger()
        return done

    async def joinable(self, session_id: str) -> Session:
        """The session, if a user may take a token for it; its lease starts anew.

        Raises:
            SessionNotFoundError: there is none.
            SessionEndedError: it is over.
        """
        session = await self.get(session_id)
        if is_final(session.state):
            raise SessionEndedError
        await self._store.token_made(session_id)
        return session

    async def user_joined(self, session_id: str) -> None:
        """LiveKit says that the user is in the room."""
        if await self._store.mark_active(session_id):
            await self._store.touch(session_id, user_left=False)

    async def user_left(self, session_id: str) -> None:
        """LiveKit says that the user's connection is gone."""
        await self._store.touch(session_id, user_left=True)

    async def room_closed(self, session_id: str, sid: str) -> None:
        """LiveKit says that this room is closed: the call that was in it is over.

        Who waits for an agent goes on waiting: Greenroom itself closes the room of a spawn that is held back, and the
        next try makes another one of the same name. That one may be there when LiveKit tells of the room before, which
        it does as often as it takes. An agent of the pool sees by itself that its room is gone, and ends.

        Raises:
            RoomsUnavailableError: LiveKit, which is to say whether another room is open, does not answer.
        """
        session = await self._store.get(session_id)
        if session is None or session.state not in IN_CALL:
            return
        if await self._rooms.sid(session_id) not in {None, sid}:  # LiveKit tells of a room's end before it forgets it
            return
        reason = "its room was closed"
        done = await self._store.finish(session_id, SessionState.ENDED, reason, only_from=IN_CALL)
        if done.changed:
            await self._pool.trigger()

    async def logs(self, session_id: str, limit: int) -> list[Mapping[str, object]]:
        """The newest lines of its agent, oldest first.

        Raises:
            SessionNotFoundError: there is none.
            HostUnavailableError: its host did not answer.
        """
        session = await self.get(session_id)
        return [] if session.host is None else await self._hosts.logs(session.host, session_id, limit)

    async def _existing(self, session_id: str) -> Session:
        session = await self._store.get(session_id)
        if session is None:
            raise SessionNotFoundError
        return session
