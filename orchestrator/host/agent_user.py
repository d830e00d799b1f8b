"""The user that agents run as, where that is not the host's own (``AGENT_USER``)."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.settings import SettingsError

CHECK_TIMEOUT_S = 30.0
LOOK = "import os, sys; [os.stat(path) for path in sys.argv[1:]]"


@dataclass(frozen=True)
class AgentUser:
    """An unprivileged user of this machine."""

    name: str
    uid: int
    gid: int
    home: str

    @classmethod
    def find(cls, name: str) -> AgentUser:
        """Look the user up.

        Raises:
            SettingsError: there is no such user, it is root, or this process may not start programs as another one.
        """
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            raise SettingsError(f"AGENT_USER: there is no user {name!r} on this machine: add one (useradd)") from None
        if entry.pw_uid == 0 or entry.pw_gid == 0:
            raise SettingsError("AGENT_USER: should be a user without privileges, and not root")
        if os.geteuid() != 0:
            raise SettingsError("AGENT_USER: only a host that runs as root can start agents as another user")
        return cls(name, entry.pw_uid, entry.pw_gid, entry.pw_dir)

    @property
    def environment(self) -> dict[str, str]:
        """What names this user to its programs."""
        return {"HOME": self.home, "USER": self.name, "LOGNAME": self.name}

    def check(self, paths: Sequence[Path], environment: dict[str, str]) -> None:
        """Run the interpreter as this user, and have it look for these paths.

        Raises:
            SettingsError: it cannot; the message says what it needs.
        """
        argv = [sys.executable, "-c", LOOK, *map(str, paths)]
        try:
            done = subprocess.run(
                argv, user=self.uid, group=self.gid, extra_groups=[], env=environment, capture_output=True,
                timeout=CHECK_TIMEOUT_S, check=False,
            )  # fmt: skip
            why = done.stderr.decode(errors="replace").strip().rpartition("\n")[2] if done.returncode else ""
        except (OSError, subprocess.TimeoutExpired) as error:
            why = str(error)
        if why:
            needed = ", ".join(map(str, [sys.executable, *paths]))
            raise SettingsError(f"AGENT_USER: {self.name} has to reach {needed}; it cannot ({why[:300]})")
