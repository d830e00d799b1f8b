"""Who is at the other end of a connection to the host's socket: a worker, or an agent and what it started.

Source: unix(7), SO_PEERCRED: the kernel's own word, of the moment at which the connection was made.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

from contract.procfs import PARENT_FIELD, SESSION_FIELD, stat_fields

GENERATIONS = 64
"""Ancestors that are looked at: more there are of none of ours."""


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

    def include(self, peer: Peer) -> bool:
        """Whether it is one. The host's own descendants all are: what an agent left behind becomes its child."""
        if self._agent_uid is not None and peer.uid == self._agent_uid:
            return True
        ours = {os.getpid()} | self._agent_pids()
        pid = peer.pid
        try:
            for _ in range(GENERATIONS):
                fields = stat_fields(pid)
                if pid in ours or int(fields[SESSION_FIELD]) in ours - {os.getpid()}:
                    return True
                pid = int(fields[PARENT_FIELD])
                if pid <= 1:
                    return False
        except (FileNotFoundError, ProcessLookupError):
            pass
        return True  # it is gone, or hides how it came to be
