"""One part's clock set wrong, by libfaketime, while the machine's own clock goes on as it is."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.support.system import System

LIBRARIES = ("libfaketimeMT.so.1", "libfaketime.so.1")
FOLDERS = ("/usr/lib/*/faketime", "/usr/lib/faketime", "/usr/local/lib/faketime", "/usr/lib64/faketime")
REMEDY = "libfaketime is missing: apt-get install faketime"


class MissingLibraryError(Exception):
    """libfaketime is not installed; the message says how to."""


def library() -> Path:
    """Where libfaketime is.

    Raises:
        MissingLibraryError: nowhere.
    """
    for name in LIBRARIES:
        for folder in FOLDERS:
            for found in Path("/").glob(f"{folder}/{name}".lstrip("/")):
                return found
    raise MissingLibraryError(REMEDY)


class Clock:
    """The clock of one of supervisord's programs, and of what it starts. Its monotonic clock is never touched."""

    def __init__(self, system: System, part: str) -> None:
        self._environment = os.environ | {"GREENROOM_HOME": str(system.home)}  # the configuration names it
        self._config = system.home / "supervisord.conf"
        self._offset = system.home / "clock"
        self._part = part

    def set(self, seconds: int) -> None:
        """From now on its clock is so far ahead; it is read once a second."""
        self._offset.write_text(f"{seconds:+d}s\n")

    @contextlib.contextmanager
    def replaced(self) -> Iterator[None]:
        """Restart the part with a clock that can be set, and with its own clock afterwards."""
        plain = self._config.read_text()
        self.set(0)
        variables = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DISABLE_SHM": "1",
        }
        line = "environment=" + ",".join(f'{name}="{value}"' for name, value in variables.items())
        section = f"[program:{self._part}]\n"
        self._config.write_text(plain.replace(section, section + line + "\n"))
        try:
            self._restart()
            yield
        finally:
            self._config.write_text(plain)
            self.set(0)
            self._restart()

    def _restart(self) -> None:
        command = str(Path(sys.executable).with_name("supervisorctl"))
        argv = [command, "-c", str(self._config), "update", self._part]
        done = subprocess.run(argv, env=self._environment, capture_output=True, text=True, timeout=120, check=False)
        if "updated process group" not in done.stdout:
            raise RuntimeError(f"supervisorctl update {self._part}: {done.stdout}{done.stderr}")
