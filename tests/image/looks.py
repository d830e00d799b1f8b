"""What an image's files say: its size, and what must not be among them."""

from __future__ import annotations

import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

BUILDERS = frozenset({
    "as", "c++", "c99", "cargo", "cc", "clang", "cpp", "g++", "gcc", "go", "ld", "make", "node", "npm", "pip", "pip3",
    "rustc", "uv",
})  # fmt: skip
"""Compilers, and what installs packages of a language."""

OF_MACHINES = re.compile(r"(^|/)(\.env|\.npmrc|\.netrc|pip\.conf|uv\.toml|\.git|id_(rsa|ed25519)|auth\.conf)$")
SECRET_NAME = re.compile(r"KEY|SECRET|TOKEN|PASSWORD|_CERT|INDEX|PROXY", re.IGNORECASE)
PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----\s+[A-Za-z0-9+/]{60}")
LARGEST_TEXT = 1_000_000


def size_bytes(root: Path) -> int:
    """The bytes of all files, each once, as they are unpacked."""
    seen = {(found.st_dev, found.st_ino): found.st_size for found in _stats(root)}
    return sum(seen.values())


def builders(root: Path) -> list[str]:
    """Programs that build others."""
    folders = ("bin", "sbin", "usr/bin", "usr/sbin", "usr/local/bin", "opt/greenroom/bin")
    names = {path.name for folder in folders for path in (root / folder).glob("*")}
    bare = {re.sub(r"^x86_64-linux-gnu-|-?[\d.]+$", "", name): name for name in names}
    return sorted(name for plain, name in bare.items() if plain in BUILDERS)


def secrets(root: Path, config: Mapping[str, Any]) -> list[str]:
    """Files and variables that look like somebody's secret, or like the machine's that built it."""
    found = [name for name in (each.partition("=")[0] for each in config["Env"]) if SECRET_NAME.search(name)]
    for path in _files(root):
        inside = str(path.relative_to(root))
        if OF_MACHINES.search(inside) or inside.startswith("run/secrets/") or _holds_a_key(path):
            found.append(inside)
    return found


def writable(root: Path, uid: int) -> set[str]:
    """Folders that this user may write to."""
    return {
        "/" + str(path.relative_to(root))
        for path in root.rglob("*")
        if path.is_dir() and not path.is_symlink() and _may_write(path.stat(), uid)
    }


def _may_write(found: Any, uid: int) -> bool:
    return bool(found.st_mode & stat.S_IWOTH) or (found.st_uid == uid and bool(found.st_mode & stat.S_IWUSR))


def set_uid(root: Path) -> list[str]:
    """Programs that run as their owner, whoever starts them."""
    return ["/" + str(path.relative_to(root)) for path in _files(root) if path.stat().st_mode & stat.S_ISUID]


def _holds_a_key(path: Path) -> bool:
    return path.stat().st_size <= LARGEST_TEXT and PRIVATE_KEY.search(path.read_bytes()) is not None


def _files(root: Path) -> Iterator[Path]:
    return (path for path in root.rglob("*") if path.is_file() and not path.is_symlink())


def _stats(root: Path) -> Iterator[Any]:
    return (path.lstat() for path in root.rglob("*") if not path.is_dir() or path.is_symlink())
