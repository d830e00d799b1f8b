"""``make image-test``: both images built without Docker, looked through, and run: a session, an answer, every stop."""

from __future__ import annotations

import contextlib
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from tests.image import looks
from tests.image.buildah import Container, Image, build, container, provide_base
from tests.image.runs import Place, Running, answers, pages
from tests.support.servers import LiveKitServer, RedisServer, free_port, running, wait_until

MOST_BYTES = 900_000_000
UID = 10001
MAY_WRITE = {"/tmp", "/var/tmp", "/run/lock", "/var/lib/greenroom", "/data", "/config"}
STOP_S = 130.0
"""Above the sum of every program's own time to end."""


def main() -> None:
    """Do all of it; the first thing that is wrong ends it."""
    started = time.monotonic()
    seconds = provide_base()
    note("base", "was there" if seconds is None else f"made in {seconds:.0f} s")
    images = [build("Dockerfile.orchestrator", "localhost/greenroom-orchestrator")]
    images.append(build("Dockerfile.frontend", "localhost/greenroom-frontend"))
    if "--twice" in sys.argv:
        for image in images:
            same(image)
    with (
        tempfile.TemporaryDirectory() as folder,
        servers(Path(folder)) as (redis, livekit),
        container(images[0]) as orchestrator,
        container(images[1]) as frontend,
    ):
        for each in (orchestrator, frontend):
            look(each.image, each.root)
        place = Place(orchestrator, redis, livekit, Path(folder), free_port())
        everything(place, frontend)
        apart(place)
        broken(place)
    note("all of it", f"{time.monotonic() - started:.0f} s")


def note(what: str, found: str) -> None:
    """Print one line."""
    print(f"{what:<34} {found}", flush=True)


def check(what: str, found: object, wanted: object) -> None:
    """Print what was found; end when it is not what it should be."""
    note(what, str(found))
    if found != wanted:
        sys.exit(f"{what}: should be {wanted}, not {found}")


@contextlib.contextmanager
def servers(folder: Path) -> Iterator[tuple[RedisServer, LiveKitServer]]:
    """Redis and LiveKit on this machine, where the containers find them."""
    redis, livekit = RedisServer.create(folder / "redis"), LiveKitServer.create(folder / "livekit")
    with running(redis), running(livekit):
        yield redis, livekit


def same(image: Image) -> None:
    """Build it again, from nothing: the layers must be the same."""
    dockerfile = "Dockerfile.frontend" if image.name.endswith("frontend") else "Dockerfile.orchestrator"
    check(f"{image.name}, built again", build(dockerfile, image.name).layers == image.layers, True)


def look(image: Image, root: Path) -> None:
    """Look through an image's files and settings."""
    size = looks.size_bytes(root)
    note(image.name, f"built in {image.seconds:.0f} s, {size / 1e6:.0f} MB")
    if size > MOST_BYTES:
        sys.exit(f"{image.name}: {size} bytes, {MOST_BYTES} at most")
    check("  its user", image.config["User"], f"{UID}:{UID}")
    check("  compilers and package managers", looks.builders(root), [])
    check("  secrets", looks.secrets(root, image.config), [])
    check("  programs that run as their owner", looks.set_uid(root), [])
    check("  folders that it may write to", looks.writable(root, UID) - MAY_WRITE, set())


def everything(place: Place, frontend: Container) -> None:
    """`all`: a call, the pages in front of it, who runs what, and the end."""
    with place.running("all") as system:
        began = time.monotonic()
        place.wait_ready()
        note("all: until it is ready", f"{time.monotonic() - began:.1f} s")
        check("all: users of its processes", users(system), {UID})
        check("all: `greenroom healthy`", place.is_healthy("all"), True)
        check("all: a sentence is answered", len(answers(place.talk("what time is it"))), 2)
        behind_caddy(place, frontend)
        ended(place, "all", system)
        check("all: rooms that are left", place.rooms(), [])


def users(system: Running) -> set[int]:
    """The users of all its processes, real and effective."""
    return {uid for process in system.inside() for uid in process.uids()}


def behind_caddy(place: Place, frontend: Container) -> None:
    """The pages' image hands out pages, and the API's answers."""
    with pages(frontend, place.folder, place.port) as url:
        wait_until(lambda: _status(url) == 200, what="Caddy answers")
        check("pages: the talk page", "<html" in httpx.get(url, trust_env=False).text, True)
        check("pages: the API behind them", _status(f"{url}/health/ready"), 200)
        check("pages: metrics stay inside", _status(f"{url}/metrics"), 404)


def _status(url: str) -> int | None:
    with contextlib.suppress(httpx.HTTPError):
        return httpx.get(url, trust_env=False).status_code
    return None


def apart(place: Place) -> None:
    """Each program by itself, and agents' container stopped in a call: the call goes on to its end."""
    with place.running("api") as api, place.running("beat") as beat, place.running("worker", "host") as agents:
        place.wait_ready()
        for programs in (("api",), ("beat",), ("worker", "host")):
            check(f"{' '.join(programs)}: `greenroom healthy`", place.is_healthy(*programs), True)
        caller = place.talk("tell me a joke", "what time is it")
        wait_until(place.has_active_session, timeout_s=60, what="a call")
        agents.first.terminate()
        check("worker host: answers to a call that it drains", len(answers(caller)), 3)
        check("worker host: exit code", agents.process.wait(STOP_S), 0)
        ended(place, "beat", beat)
        ended(place, "api", api)


def ended(place: Place, name: str, system: Running) -> None:
    """Stop it, and see that nothing of it is left."""
    code, seconds = system.stop(STOP_S)
    note(f"{name}: stopped", f"in {seconds:.1f} s")
    check(f"{name}: exit code", code in {0, 143}, True)
    check(f"{name}: processes that are left", system.inside(), [])


def broken(place: Place) -> None:
    """A program that keeps ending ends the container: here the API, whose port is taken."""
    with place.running("all", PORT=str(place.redis.port)) as system:
        system.process.wait(120)
        check("a program that is given up", "was given up" in system.tail(), True)


if __name__ == "__main__":
    main()
