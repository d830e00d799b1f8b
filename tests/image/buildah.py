"""Debian's buildah without a daemon: the base from debootstrap, images from the Dockerfiles, programs in a chroot.

Everything is below one cached folder, and none of it is this machine's: its proxies, package indexes and certificates
are given to a build as secrets, which stay out of the image.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TREE = Path(__file__).parents[2]
BASE = "docker.io/library/debian:bookworm-slim"
MIRROR = "http://deb.debian.org/debian"
SECURITY = "deb http://deb.debian.org/debian-security bookworm-security main\n"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "greenroom" / "image"
CERTIFICATES = ("SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE", "npm_config_cafile")
INDEXES = re.compile(r"(PIP|UV)_(.*INDEX.*|TRUSTED_HOST)|(https?|all|no)_proxy|npm_config_registry", re.IGNORECASE)
BUILD_S = 900
PIPED = ("bash", "-o", "pipefail", "-c", '"$@" 2>&1 | cat', "bash")


@dataclass(frozen=True)
class Image:
    """A built image."""

    name: str
    config: Mapping[str, Any]
    """As Docker keeps it: ``User``, ``Env``, ``Entrypoint``, ``Cmd``, ``Healthcheck``."""
    layers: tuple[str, ...]
    """The digests of what is in it."""
    seconds: float


def buildah(*arguments: str, timeout_s: float = 60) -> str:
    """Run buildah; returns what it prints.

    Raises:
        RuntimeError: it failed, with the end of what it said.
    """
    done = subprocess.run(argv(*arguments), capture_output=True, text=True, timeout=timeout_s, check=False)
    if done.returncode:
        raise RuntimeError(f"buildah {arguments[0]} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return done.stdout.strip()


def argv(*arguments: str) -> list[str]:
    """The command, with this folder as its storage: layers are plain copies, for which no kernel module is needed."""
    return ["buildah", "--storage-driver", "vfs", "--root", str(CACHE / "storage"), "--runroot", str(CACHE / "run"),
            *arguments]  # fmt: skip


def provide_base() -> float | None:
    """Make the base under its usual name, once; returns the seconds that it took, or None when it was there."""
    if BASE in buildah("images", "--format", "{{.Name}}:{{.Tag}}").splitlines():
        return None
    started = time.monotonic()
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as folder:
        root = Path(folder, "root")
        run(["debootstrap", "--variant=minbase", "bookworm", str(root), MIRROR])
        (root / "etc/apt/sources.list.d/security.list").write_text(SECURITY)
        for left in (
            "var/cache/apt/archives",
            "var/lib/apt/lists",
            "usr/share/doc",
            "usr/share/man",
            "usr/share/locale",
        ):
            shutil.rmtree(root / left)
            (root / left).mkdir()
        container = buildah("from", "scratch")
        buildah("add", "--quiet", container, str(root), "/", timeout_s=300)
        buildah("config", "--cmd", "bash", "--env", f"PATH={os.defpath}:/usr/sbin:/sbin", container)
        buildah("commit", "--quiet", "--rm", container, BASE, timeout_s=300)
    return time.monotonic() - started


def run(command: Sequence[str]) -> None:
    """Run a command that may take minutes.

    Raises:
        RuntimeError: it failed, with the end of what it said.
    """
    done = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_S, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{(done.stdout + done.stderr)[-3000:]}")


def build(dockerfile: str, name: str) -> Image:
    """Build an image from nothing but its base."""
    started = time.monotonic()
    with _secrets() as secrets:
        options = ["--isolation", "chroot", "--pull-never", "--no-cache", "--format", "docker", "--timestamp", "0"]
        run(argv("build", *options, *secrets, "--file", str(TREE / dockerfile), "--tag", name, str(TREE)))
    buildah("rmi", "--prune", timeout_s=300)  # what had this name before
    about = json.loads(buildah("inspect", "--type", "image", name))
    layers = tuple(about["Docker"]["rootfs"]["diff_ids"])
    return Image(name, about["Docker"]["config"], layers, time.monotonic() - started)


@contextlib.contextmanager
def _secrets() -> Iterator[list[str]]:
    """What this machine's own package managers are told: addresses of indexes and proxies, and certificates."""
    given = [f"export {name}={value!r}" for name, value in os.environ.items() if INDEXES.fullmatch(name)]
    authorities = os.environ.get("SSL_CERT_FILE")
    if authorities:
        given += [f"export {name}=/run/secrets/build_ca" for name in CERTIFICATES]
    with tempfile.NamedTemporaryFile("w", suffix=".sh") as file:
        file.write("\n".join(given) + "\n")
        file.flush()
        secrets = ["--secret", f"id=build_env,src={file.name}"]
        yield [*secrets, "--secret", f"id=build_ca,src={authorities}"] if authorities else secrets


@dataclass(frozen=True)
class Container:
    """A container of an image: its files, and programs in them."""

    name: str
    image: Image
    root: Path

    def command(self, *arguments: str) -> list[str]:
        """What the image starts with these arguments."""
        return [*self.image.config["Entrypoint"], *arguments]

    def start(self, command: Sequence[str], log: Path, **environment: str) -> subprocess.Popen[bytes]:
        """Start a command as the image's user.

        A chroot has no PID 1 of its own: tini is told to be what that is. Its standard output is buildah's own pipe,
        which only root may open again, as supervisord does by name; container runtimes give it to the user, and here
        one of the user's own is put between.
        """
        variables = {"TINI_SUBREAPER": "1"} | environment
        options = [word for name, value in variables.items() for word in ("--env", f"{name}={value}")]
        with log.open("ab") as out:
            return subprocess.Popen(
                argv("run", "--isolation", "chroot", *options, self.name, "--", *PIPED, *command),
                stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip


@contextlib.contextmanager
def container(image: Image) -> Iterator[Container]:
    """A container of this image, removed afterwards."""
    name = buildah("from", "--pull-never", image.name, timeout_s=300)
    try:
        yield Container(name, image, Path(buildah("mount", name)))
    finally:
        buildah("rm", name, timeout_s=300)
