"""The CDK's command line, pinned by ``tests/deploy/cdk/package-lock.json``: from the cache, else npm puts it there."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.support.servers import missing
from tests.support.stack import TOP

PACKAGE = TOP / "tests" / "deploy" / "cdk"


def cdk() -> Path:
    """The program."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "greenroom"
    wanted = hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = cache / f"aws-cdk-{wanted}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "aws-cdk.lock").open("w") as lock:  # tests run side by side
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            _install(folder)
    return folder / "node_modules" / ".bin" / "cdk"


def _install(folder: Path) -> None:
    path = path_with_node()
    if shutil.which("npm", path=path) is None:
        missing("npm", "install Node.js 20 or newer")
    # Beside its final place: a rename is whole or not at all, so an installation that was cut off leaves nothing.
    with tempfile.TemporaryDirectory(dir=folder.parent) as beside:
        new = Path(beside) / "new"
        shutil.copytree(PACKAGE, new)
        argv, environ = ["npm", "ci", "--ignore-scripts", "--loglevel=error"], os.environ | {"PATH": path}
        done = subprocess.run(argv, cwd=new, env=environ, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        new.rename(folder)


def synth(out: Path, context: Mapping[str, Any], app: str, folder: Path) -> str:
    """``cdk synth`` with this program and context into ``out``, for any account and region; returns what it said."""
    argv = [str(cdk()), "synth", "--quiet", "--no-notices", "--app", app, "--output", str(out)]
    argv += [word for name, value in context.items() for word in ("-c", f"{name}={_text(value)}")]
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "CDK_"))} | {
        "PATH": path_with_node(),
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "AWS_EC2_METADATA_DISABLED": "true",
        "CDK_DISABLE_CLI_TELEMETRY": "true",
        "JSII_RUNTIME_PACKAGE_CACHE_ROOT": str(folder / "cache"),
        "JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION": "true",
    }
    cwd = TOP / "deploy" / "aws"
    done = subprocess.run(argv, cwd=cwd, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(value)
    return json.dumps(value) if isinstance(value, dict) else str(value)


def path_with_node() -> str:
    """Node.js of the path, else the one that ``scripts/frontend.sh`` brings."""
    return os.pathsep.join([os.environ["PATH"], str(TOP / ".node" / "bin")])
