"""The commands with which pages have Redis backed up and restored, as they are written there, against a real one."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from tests.support.servers import Program, free_port, missing, running, wait_until

PAGES = Path(__file__).parents[2] / "docs" / "deploy"
PASSWORD = "a-password-of-some-length"
KEYS = 2000
COMMANDS = {
    # docker compose -f FILE exec -T redis COMMAND…; docker compose -f FILE restart redis; …
    "docker": """
        case "$*" in
        *" exec -T redis "*) while [ "$1" != redis ]; do shift; done; shift; exec "$@" ;;
        *" restart redis") exec redis-cli shutdown ;;
        esac
    """,
    # kubectl -n NAMESPACE exec -i POD -- COMMAND…; kubectl -n NAMESPACE delete pod POD
    "kubectl": """
        case "$*" in
        *" exec -i "*) while [ "$1" != -- ]; do shift; done; shift; exec "$@" ;;
        *" delete pod "*) exec redis-cli shutdown ;;
        esac
    """,
    "redis-cli": f"""
        export REDISCLI_AUTH={PASSWORD}
        exec {shutil.which("redis-cli")} -p $REDIS_PORT "$@"
    """,
    "tar": f"""
        redis-cli info persistence >>$SEEN
        redis-cli config get auto-aof-rewrite-percentage >>$SEEN
        exec {shutil.which("tar")} "$@"
    """,
}
"""What stands between the page and Redis, and a tar that writes down how Redis was meanwhile."""


@dataclass(frozen=True)
class Place:
    """A Redis with its folder, and a shell beside it."""

    folder: Path
    port: int

    def server(self) -> Program:
        if shutil.which("redis-server") is None:
            missing("redis-server", "apt-get install redis-server")
        (self.folder / "data").mkdir(exist_ok=True)
        return Program(
            ["redis-server", "--port", str(self.port), "--dir", str(self.folder / "data"), "--appendonly", "yes",
             "--save", "", "--requirepass", PASSWORD],
            self.folder / "redis.log",
        )  # fmt: skip

    def client(self) -> redis.Redis:
        return redis.Redis(port=self.port, password=PASSWORD, decode_responses=True)

    def answers(self) -> bool:
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def shell(self, script: str) -> None:
        commands = self.folder / "bin"
        commands.mkdir(exist_ok=True)
        for name, text in COMMANDS.items():
            (commands / name).write_text(f"#!/bin/sh\n{text}")
            (commands / name).chmod(0o755)
        environ = {"PATH": f"{commands}:{os.environ['PATH']}", "REDIS_PORT": str(self.port), "SEEN": str(self.seen)}
        script = script.replace("/data", str(self.folder / "data"))
        subprocess.run(["sh", "-c", script], cwd=self.folder, env=os.environ | environ, timeout=60, check=True)

    @property
    def seen(self) -> Path:
        return self.folder / "seen"


def recipes(page: str) -> tuple[str, str]:
    """The page's blocks: to back up, and to restore, which uses what the first defines."""
    section = (PAGES / page).read_text().partition("## Backup and restore")[2].partition("\n## ")[0]
    backup, restore = re.findall(r"^```sh\n(.*?)^```", section, re.DOTALL | re.MULTILINE)
    defined = "".join(re.findall(r"^(?:compose=|\w+\(\)).*\n", backup, re.MULTILINE))
    return backup, defined + restore


@pytest.mark.parametrize("page", ["compose.md", "kubernetes.md"])
def test_what_was_backed_up_is_what_redis_starts_from(tmp_path: Path, page: str) -> None:
    place = Place(tmp_path, free_port())
    backup, restore = recipes(page)
    with running(place.server()):
        wait_until(place.answers, what="Redis answers")
        with place.client() as client:
            client.mset({f"key:{number}": "x" * 100 for number in range(KEYS)})
            client.config_set("rdb-key-save-delay", 1000)  # microseconds: a file is written anew for two seconds
            client.bgrewriteaof()
            place.shell(backup)
            assert client.config_get("auto-aof-rewrite-percentage") == {"auto-aof-rewrite-percentage": "100"}
            client.flushall()
    seen = place.seen.read_text()
    assert "aof_rewrite_in_progress:0" in seen
    assert "auto-aof-rewrite-percentage\n0\n" in seen
    [archive] = tmp_path.glob("redis*.tar")
    with tarfile.open(archive) as files:
        assert len([name for name in files.getnames() if name.endswith(".manifest")]) == 1

    with running(place.server()) as server:
        wait_until(place.answers, what="Redis answers")
        place.shell(restore.replace("redis-….tar", archive.name))
        assert server.process is not None
        server.process.wait(10)
    with running(place.server()), place.client() as client:
        wait_until(place.answers, what="Redis answers")
        assert client.dbsize() == KEYS
