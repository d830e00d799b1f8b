"""The whole system as ``greenroom run`` starts it, in a folder of its own, for end-to-end tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import redis

from tests.support.servers import free_port, wait_until

READY_S = 90.0
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Nothing here speaks TLS: reading the machine's certificates anew takes longer than what a client is made for."""
PROGRAMS = {
    "redis": "redis-server",
    "livekit": "livekit-server",
    "host": "orchestrator.host",
    "worker": "worker",
    "beat": "beat",
    "api": "orchestrator.api",
    "zygote": "agent.zygote",
}
"""What each program's command line has in it."""


@dataclass
class System:
    """One running Greenroom."""

    folder: Path
    settings: Mapping[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None
    port: int = field(default_factory=free_port)
    redis_port: int = field(default_factory=free_port)
    livekit_port: int = field(default_factory=lambda: free_port(in_a_row=3))

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def livekit_url(self) -> str:
        return f"ws://127.0.0.1:{self.livekit_port}"

    @property
    def output(self) -> str:
        return (self.folder / "run.out").read_text()

    @property
    def log(self) -> str:
        """What the programs have said."""
        return (self.home / "logs" / "greenroom.log").read_text(errors="replace")

    def last_words(self, lines: int = 80) -> str:
        """The end of the programs' log without what was only looked at, and of what ``run`` printed."""
        told = [
            line[:400]
            for line in self.log.splitlines()
            if '"method": "GET"' not in line and "livekit.transport" not in line
        ]
        return "\n".join([*told[-lines:], self.output[-2000:]])

    @property
    def environment(self) -> dict[str, str]:
        own = {
            "PORT": str(self.port),
            "REDIS_PORT": str(self.redis_port),
            "LIVEKIT_PORT": str(self.livekit_port),
            "GREENROOM_HOME": str(self.home),
            "GREENROOM_URL": self.url,
            "COLUMNS": "160",
            # Tests and benchmarks start many sessions from one address, often for one user.
            "START_LIMIT_USER": "0",
            "START_LIMIT_IP": "0",
        }
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("REDIS_", "LIVEKIT_"))}
        return inherited | own | dict(self.settings)

    def start(self) -> System:
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "run.out").open("ab") as out:
            self.process = subprocess.Popen(
                [str(Path(sys.executable).parent / "greenroom"), "run"],
                cwd=self.folder,
                env=self.environment,
                stdout=out,
                stderr=out,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        wait_until(self._is_up, timeout_s=READY_S, what=f"greenroom run is ready; it says: {self.output[-2000:]}")
        return self

    def _is_up(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"greenroom run ended:\n{self.output}")
        return "Greenroom is ready" in self.output

    def stop(self) -> None:
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(120)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)
            raise

    # --- looking at it ---------------------------------------------------------------------------------

    @property
    def admin(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.secret('ADMIN_TOKEN')}"}

    def secret(self, name: str) -> str:
        for line in (self.folder / ".env").read_text().splitlines():
            key, _, value = line.partition("=")
            if key == name:
                return value
        raise KeyError(name)

    def client(self, **options: Any) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=10, verify=NO_AUTHORITIES, **options)

    def redis(self) -> redis.Redis:
        parts = urlsplit(self.settings.get("REDIS_URL", f"redis://127.0.0.1:{self.redis_port}"))
        return redis.Redis(port=parts.port or 6379, decode_responses=True, socket_timeout=2)

    def get(self, path: str, **options: Any) -> Any:
        with self.client() as client:
            return client.get(path, **options).json()

    def start_session(self, user: str = "u1", **body: Any) -> dict[str, Any]:
        with self.client() as client:
            answer: dict[str, Any] = client.post("/api/session/start", json={"userId": user, **body}).json()
        return answer

    def session(self, session_id: str) -> dict[str, Any]:
        answer: dict[str, Any] = self.get(f"/api/session/{session_id}", headers=self.admin)
        return answer

    def end(self, session_id: str) -> None:
        with self.client() as client:
            client.delete(f"/api/session/{session_id}")

    def wait_status(self, session_id: str, status: str, timeout_s: float = 20.0) -> dict[str, Any]:
        wait_until(
            lambda: self.session(session_id).get("status") == status,
            timeout_s=timeout_s,
            what=f"{session_id} is {status}",
        )
        return self.session(session_id)

    def pool(self) -> dict[str, Any]:
        answer: dict[str, Any] = self.get("/api/pool", headers=self.admin)
        return answer

    def wait_pool(self, ready: int, timeout_s: float = 30.0) -> None:
        what = f"{ready} warm agents"
        wait_until(lambda: self.pool().get("ready") == ready, timeout_s=timeout_s, what=what, every_s=0.1)

    def resize(self, size: int) -> None:
        """Resize the pool, and wait until it has so many agents."""
        with self.client(headers=self.admin) as client:
            client.post("/api/pool/resize", json={"size": size}).raise_for_status()
        self.wait_pool(size)

    def wait_healthy(self, timeout_s: float = 30.0) -> None:
        def healthy() -> bool:
            with contextlib.suppress(httpx.HTTPError), self.client() as client:
                return client.get("/health/ready").status_code == 200
            return False

        wait_until(healthy, timeout_s=timeout_s, what="healthy again")

    # --- its processes ---------------------------------------------------------------------------------

    def descendants(self) -> list[psutil.Process]:
        assert self.process is not None
        with contextlib.suppress(psutil.NoSuchProcess):
            return psutil.Process(self.process.pid).children(recursive=True)
        return []

    def pid_of(self, program: str) -> int:
        """The newest main process of a program; agents are forks of the zygote and are not meant."""
        mark = PROGRAMS[program]
        found = []
        for process in self.descendants():
            with contextlib.suppress(psutil.Error):
                line, parent = " ".join(process.cmdline()), process.parent()
                named_agent = process.name() == "greenroom-agent"
                forked = parent is not None and mark in " ".join(parent.cmdline()) and program != "host"
                if mark in line and not named_agent and not forked:
                    found.append(process)
        if not found:
            raise LookupError(program)
        return max(found, key=lambda p: p.create_time()).pid

    def kill(self, program: str, number: signal.Signals = signal.SIGKILL) -> int:
        pid = self.pid_of(program)
        os.kill(pid, number)
        return pid

    def agent_pids(self) -> set[int]:
        pids = set()
        for process in self.descendants():
            with contextlib.suppress(psutil.Error):
                if process.name() == "greenroom-agent":
                    pids.add(process.pid)
        return pids


@contextlib.contextmanager
def running_system(folder: Path, **settings: str) -> Iterator[System]:
    """Start, yield, stop."""
    system = System(folder, settings)
    system.start()
    try:
        yield system
    finally:
        system.stop()
