"""A Redis master with a replica, and the sentinel that watches them."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import redis

from tests.support.servers import Program, RedisServer, free_port, wait_until

SERVICE = "greenroom"


@dataclass
class Watched:
    """Both servers. The master is whichever the sentinel says."""

    servers: dict[int, RedisServer]
    sentinel: Program
    port: int

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.port}/{SERVICE}/0"

    @property
    def master(self) -> RedisServer:
        with redis.Redis(port=self.port, decode_responses=True, socket_timeout=2) as client:
            _, port = client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return self.servers[int(port)]

    def replica_is_in_step(self) -> None:
        """A fail-over before this would lose what only the master has."""
        for server in self.servers.values():
            if server is self.master:
                continue
            with redis.Redis(port=server.port, decode_responses=True, socket_timeout=2) as client:
                wait_until(lambda c=client: c.info("replication").get("master_link_status") == "up", what="in step")


@contextlib.contextmanager
def watched_redis(folder: Path) -> Iterator[Watched]:
    """Start all three, and stop them."""
    first, second = (RedisServer.create(folder / name) for name in ("one", "two"))
    second.argv += ["--replicaof", "127.0.0.1", str(first.port)]
    for server in (first, second):
        server.argv += ["--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"]
        server.start()
    port = free_port()
    config = folder / "sentinel.conf"
    config.write_text(
        f"port {port}\nbind 127.0.0.1\ndir {folder}\nsentinel monitor {SERVICE} 127.0.0.1 {first.port} 1\n"
        f"sentinel down-after-milliseconds {SERVICE} 1000\nsentinel failover-timeout {SERVICE} 5000\n"
    )
    sentinel = Program([str(shutil.which("redis-server")), str(config), "--sentinel"], folder / "sentinel.log")
    watched = Watched({first.port: first, second.port: second}, sentinel, port)
    try:
        sentinel.start()
        wait_until(lambda: _knows_replica(port), what="the sentinel knows the replica")
        watched.replica_is_in_step()
        yield watched
    finally:
        for program in (sentinel, first, second):
            program.stop()


def _knows_replica(port: int) -> bool:
    with (
        redis.Redis(port=port, decode_responses=True, socket_timeout=1, retry=None) as client,
        contextlib.suppress(redis.RedisError),
    ):
        return int(client.info("sentinel")["master0"]["slaves"]) == 1
    return False
