"""Folders of logs that can be full: small file systems of their own, or, without root, a limit on files' size."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from pathlib import Path

import psutil

SIZE = "32m"
LARGEST_FILE_BYTES = 4096
"""Small files that are no logs, such as who an agent is, still fit."""
FILLER = "filler"


class FullFolder:
    """``fill`` them, and ``clear`` them again."""

    def __init__(self, folders: list[Path]) -> None:
        self._folders = folders
        self._mounted: list[Path] = []
        self._limited: list[psutil.Process] = []

    @property
    def how(self) -> str:
        """What makes them full."""
        return "a full tmpfs" if self._mounted else "RLIMIT_FSIZE"

    def mount(self) -> None:
        """Put a small file system on each folder; without the right to, ``fill`` limits the processes instead."""
        for folder in self._folders:
            folder.mkdir(parents=True, exist_ok=True)
            argv = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "greenroom-chaos", str(folder)]
            if os.geteuid() != 0 or subprocess.run(argv, capture_output=True, check=False).returncode != 0:
                self.unmount()
                return
            self._mounted.append(folder)

    def fill(self, writers: list[psutil.Process]) -> None:
        """From now on nothing more can be written."""
        if not self._mounted:
            self._limit(writers, LARGEST_FILE_BYTES)
        for folder in self._mounted:
            with contextlib.suppress(OSError), (folder / FILLER).open("wb", buffering=0) as file:
                while file.write(bytes(65_536)):
                    pass
            with contextlib.suppress(OSError), (folder / FILLER).open("ab", buffering=0) as file:
                while file.write(b"\0"):
                    pass

    def clear(self) -> None:
        """Make room again."""
        self._limit(self._limited, resource.RLIM_INFINITY)
        for folder in self._mounted:
            (folder / FILLER).unlink(missing_ok=True)

    def _limit(self, processes: list[psutil.Process], most: int) -> None:
        for process in processes:
            with contextlib.suppress(psutil.Error):
                process.rlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        self._limited = processes

    def keep(self) -> None:
        """Copy what was written beside the folders, for when they are gone."""
        for folder in self._mounted:
            shutil.copytree(folder, folder.with_name(folder.name + "-kept"), dirs_exist_ok=True)

    def unmount(self) -> None:
        """Take the file systems away; harmless the second time."""
        for folder in self._mounted:
            subprocess.run(["umount", "--lazy", str(folder)], check=False)
        self._mounted = []
