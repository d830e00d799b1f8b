"""A host that runs as root and its agents as nobody, also where this Python is in a folder that only root may enter."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.support.servers import missing

USER = "nobody"

# In a mount namespace of its own, so that nobody else sees it: the closed folder has nothing in it but this Python.
OPEN_UP = """
set -e
opened=$(mktemp -d)
mount -t tmpfs -o mode=0755 none "$opened"
mkdir -p "$opened/$2"
mount --bind "$1/$2" "$opened/$2"
mount --rbind "$opened" "$1"
umount -l "$opened"
rmdir "$opened"
shift 2
exec "$@"
"""


def as_root_with_python_for_all() -> list[str]:
    """What to put before a program's arguments; skips (in CI: fails) where these tests do not run as root."""
    if os.geteuid() != 0:
        missing("root", "AGENT_USER needs a host that runs as root: run these tests as root")
    python = Path(sys.base_prefix).resolve()
    closed = [folder for folder in python.parents if not folder.stat().st_mode & 0o001]
    if not closed:
        return []
    return ["unshare", "--mount", "sh", "-c", OPEN_UP, "sh", str(closed[-1]), str(python.relative_to(closed[-1]))]
