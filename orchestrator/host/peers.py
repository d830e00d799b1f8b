"""Who is at the other end of a connection to the host's socket: a worker, or an agent and what it started.

Source: unix(7), SO_PEERCRED: the kernel's own word, of the moment at which the connection was made.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from contract.procfs import PARENT_FIELD, SESSION_FIELD, stat_fields

GENERATIONS = 64
"""Ancestors that are looked at: more there are of none of ours."""
NOBODYS = 0
"""An agent's, and it cannot be told whose: it hides, is gone, or lost its parent."""


@dataclass(frozen=True)
class Peer:
    """A process, and its user."""

    pid: int
    uid: int


def peer_of(writer: asyncio.StreamWriter) -> Peer:
    """Who made this connection."""
    form = "3i"
    credentials = writer.get_extra_info("socket").getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize(form)
    )
    pid, uid, _ = struct.unpack(form, credentials)
    return Peer(pid, uid)


class Strangers:
    """Tells agents, and what they started, from the programs that may ask the host for something."""

    def __init__(self, agent_pids: Callable[[], set[int]], agent_uid: int | None) -> None:
        self._agent_pids = agent_pids
        self._agent_uid = agent_uid

    def owner(self, peer: Peer) -> int | None:
        """Whose it is: an agent's PID, or ``NOBODYS``; None where it may ask.

        The host's own descendants are all agents', also one whose fork was not told yet: what an agent left behind
        becomes the host's child.
        """
        agents, host = self._agent_pids(), os.getpid()
        below: list[tuple[int, int]] = []
        try:
            for pid, session in _lineage(peer.pid):
                if pid in agents or session in agents:
                    return pid if pid in agents else session
                if pid == host:
                    return _forked(below, session)
                below.append((pid, session))
        except (FileNotFoundError, ProcessLookupError):
            return NOBODYS  # it is gone, or hides how it came to be
        of_agents = self._agent_uid is not None and peer.uid == self._agent_uid
        return NOBODYS if of_agents or len(below) == GENERATIONS else None


def _lineage(pid: int) -> Iterator[tuple[int, int]]:
    """A process and its ancestors below init, each with its session."""
    for _ in range(GENERATIONS):
        fields = stat_fields(pid)
        yield pid, int(fields[SESSION_FIELD])
        pid = int(fields[PARENT_FIELD])
        if pid <= 1:
            return


def _forked(below: list[tuple[int, int]], own_session: int) -> int:
    """Of a descendant of the host, by those between them: the agent. Only zygotes stay in the host's own session."""
    match below:
        case [*_, (agent, _), (_, session)] if session == own_session:
            return agent
    return NOBODYS
