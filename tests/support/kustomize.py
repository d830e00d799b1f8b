"""kustomize: from the path, from the cache, else built there with Go, once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from tests.support.servers import missing

VERSION = "5.7.1"
SOURCE = "sigs.k8s.io/kustomize/kustomize/v5"


def kustomize() -> Path:
    """The program. It takes a minute to build, and is kept beside livekit-server."""
    if on_path := shutil.which("kustomize"):
        return Path(on_path)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    binary = cache / "greenroom" / f"kustomize-{VERSION}" / "kustomize"
    binary.parent.mkdir(parents=True, exist_ok=True)
    with (binary.parent / "lock").open("w") as lock:  # tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            _build(binary)
    return binary


def _build(binary: Path) -> None:
    if shutil.which("go") is None:
        missing("kustomize", "install it or Go")
    # Beside its final place: a rename is whole or not at all, so a build that was cut off leaves nothing.
    with tempfile.TemporaryDirectory(dir=binary.parent) as folder:
        environ = os.environ | {"CGO_ENABLED": "0", "GOBIN": folder}
        subprocess.run(["go", "install", f"{SOURCE}@v{VERSION}"], env=environ, check=True, capture_output=True)
        Path(folder, "kustomize").rename(binary)


def build(folder: Path) -> list[dict[str, Any]]:
    """What ``kubectl apply -k`` would apply."""
    done = subprocess.run([str(kustomize()), "build", str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.safe_load_all(done.stdout))
