"""No secret and no token for a room is in anything that the system writes or shows, also when much goes wrong.

Where they have to be: ``.env`` and LiveKit's own configuration (both for their owner only), the environment of the
programs that use them, the answers that give a user a token, and what a caller sends.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jwt
import psutil
import pytest
import redis

from tests.support.servers import RedisServer, wait_until
from tests.support.system import System, running_system

pytestmark = pytest.mark.timeout(600)

REDIS_PASSWORD = "redis-password-rrrrrrrrrrrrrrrr"
SECRETS = {
    "LIVEKIT_API_SECRET": "livekit-secret-llllllllllllllllllllll",
    "ADMIN_TOKEN": "admin-token-aaaaaaaaaaaaaaaa",
    "API_KEYS": "caller-key-cccccccccccccccc",
    "JWT_SECRET": "jwt-secret-jjjjjjjjjjjjjjjjjjjjjjjjjjjj",
    "GROQ_API_KEY": "groq-key-gggggggggggggggg",
    "ASSEMBLY_API_KEY": "assembly-key-ssssssssssssssss",
    "INWORLD_API_KEY": "inworld-key-iiiiiiiiiiiiiiii",
}
PRESENTED = {"mistyped key": "almost-the-key-mmmmmmmmmmmmmmmm", "mistyped token": "almost-the-token-tttttttttttt"}
"""What somebody sent by mistake: nearly a secret, or another system's."""
NOWHERE = {"GROQ_BASE_URL": "http://127.0.0.1:1/v1", "ASSEMBLY_BASE_URL": "ws://127.0.0.1:1",
           "INWORLD_BASE_URL": "http://127.0.0.1:1/", "INWORLD_WS_URL": "ws://127.0.0.1:1/"}  # fmt: skip
RECOVERY_S = 120.0
TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}")
OWN_CONFIGURATION = "livekit.yaml"
AGENTS_HAVE = {"GROQ_API_KEY", "ASSEMBLY_API_KEY", "INWORLD_API_KEY"}


class Collected:
    """What was seen, and where."""

    def __init__(self) -> None:
        self.places: dict[str, str] = {}

    def add(self, place: str, text: str | bytes) -> None:
        self.places[place] = text.decode(errors="replace") if isinstance(text, bytes) else text

    def leaks(self) -> list[str]:
        """Where a secret or a token is, with what stands around it."""
        known = {**SECRETS, **PRESENTED, "REDIS_URL's password": REDIS_PASSWORD}
        found = []
        for place, text in self.places.items():
            for name, secret in known.items():
                if (at := text.find(secret)) >= 0:
                    found.append(f"{name} in {place}: …{text[max(0, at - 120) : at]}")
            if match := TOKEN.search(text):
                found.append(f"a token in {place}: …{text[max(0, match.start() - 120) : match.start()]}")
        return found


@pytest.fixture(scope="module")
def guarded_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer.create(tmp_path_factory.mktemp("redis"), aof=True).start()
    _guard(server)
    yield server
    server.stop()


def _guard(server: RedisServer) -> None:
    with redis.Redis(port=server.port, socket_timeout=2) as client:
        client.config_set("requirepass", REDIS_PASSWORD)


def _store(server: RedisServer) -> redis.Redis:
    return redis.Redis(port=server.port, password=REDIS_PASSWORD, socket_timeout=2)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory, guarded_redis: RedisServer) -> Iterator[System]:
    folder = tmp_path_factory.mktemp("system")
    url = f"redis://:{REDIS_PASSWORD}@127.0.0.1:{guarded_redis.port}/0"
    dotenv = folder / ".env"
    dotenv.touch(mode=0o600)
    given = SECRETS | NOWHERE | {"REDIS_URL": url, "LIVEKIT_API_KEY": "greenroomtest", "PREWARM_POOL_SIZE": "2"}
    dotenv.write_text("".join(f"{name}={value}\n" for name, value in given.items()))
    with running_system(folder, SPAWN_TIMEOUT_S="5", LOG_LEVEL="debug") as running:
        running.wait_pool(2)
        yield running


@pytest.fixture(scope="module")
def collected(system: System, guarded_redis: RedisServer) -> Collected:
    """What the system says while it is used, refuses, fails, and comes back."""
    seen = Collected()
    _use(system, seen)
    _refuse(system, seen)
    _fail(system, guarded_redis, seen)
    _look(system, seen, "after all")
    _collect_redis(guarded_redis, seen)
    _collect_processes(system, seen)
    _collect_supervisor(system, seen)
    _collect_files(system, seen)
    return seen


def _command(system: System, *argv: str, timeout_s: float = 60) -> str:
    done = subprocess.run(
        [str(Path(sys.executable).parent / argv[0]), *argv[1:]], cwd=system.folder, env=system.environment,
        capture_output=True, text=True, timeout=timeout_s, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    return done.stdout + done.stderr


def _callers_jwt() -> str:
    return jwt.encode({"sub": "u", "exp": time.time() + 600}, SECRETS["JWT_SECRET"], "HS256")


def _use(system: System, seen: Collected) -> None:
    caller = {"X-API-Key": SECRETS["API_KEYS"]}
    with system.client(headers=caller) as client:
        started = client.post("/api/session/start", json={"userId": "u", "userName": "U"}).json()
        session_id = started["sessionId"]
        client.post("/api/token", json={"sessionId": session_id, "userName": "U"}).raise_for_status()
        for path in ("", "/turns"):
            seen.add(f"GET session{path}", client.get(f"/api/session/{session_id}{path}").text)
        _follow(system, seen, f"/api/session/{session_id}/events", caller)
    _follow(system, seen, "/api/events", system.admin)
    with system.client(headers={"Authorization": f"Bearer {_callers_jwt()}"}) as client:
        for _ in range(2):  # the second is answered from what was kept
            client.post("/api/session/start", json={"userId": "j", "userName": "J"}, headers={"Idempotency-Key": "k"})
    # Its providers are not there: what the agent says of that is in its log.
    seen.add("greenroom talk", _command(system, "greenroom", "talk", "--type", "hello", "--timeout", "8"))
    for words in (["status"], ["doctor"], ["logs", session_id], ["end", session_id]):
        seen.add(f"greenroom {words[0]}", _command(system, "greenroom", *words))


def _follow(system: System, seen: Collected, path: str, headers: Mapping[str, str]) -> None:
    with system.client(headers=dict(headers)) as client, client.stream("GET", path) as answer:
        lines = []
        for line in answer.iter_lines():
            lines.append(line)
            if line.startswith("data:"):
                break
        seen.add(f"stream {path}", "\n".join(lines))


def _refuse(system: System, seen: Collected) -> None:
    key, token = PRESENTED["mistyped key"], PRESENTED["mistyped token"]
    forged = jwt.encode({"sub": "u", "exp": time.time() + 600}, token * 2, "HS256")
    attempts: list[dict[str, Any]] = [
        {"method": "POST", "url": "/api/session/start", "json": {"userId": "u"}, "headers": {"X-API-Key": key}},
        {"method": "POST", "url": "/api/session/start", "json": {"userId": "u", "apiKey": "x"},
         "headers": {"X-API-Key": SECRETS["API_KEYS"]}},
        {"method": "POST", "url": "/api/session/start", "json": {"userId": "u"},
         "headers": {"Authorization": f"Bearer {forged}"}},
        {"method": "GET", "url": "/api/pool", "headers": {"Authorization": f"Bearer {token}"}},
        {"method": "GET", "url": "/api/sessions", "headers": {"Authorization": f"Basic {token}"}},
        {"method": "GET", "url": f"/api/sessions?token={token}", "headers": system.admin},
        {"method": "GET", "url": f"/api/nothing/{token}"},
        {"method": "POST", "url": "/api/livekit/webhook", "content": b"{}", "headers": {"Authorization": forged}},
        {"method": "POST", "url": "/api/pool/resize", "json": {"size": "x"}, "headers": system.admin},
    ]  # fmt: skip
    with system.client() as client:
        for number, attempt in enumerate(attempts):
            seen.add(f"refusal {number}", client.request(**attempt).text)
    wrong = System(system.folder, {**system.settings, "PORT": "x"}, port=system.port)
    seen.add("run with a wrong setting", _command(wrong, "greenroom", "run"))
    seen.add("run a second time", _command(system, "greenroom", "run"))


def _fail(system: System, store: RedisServer, seen: Collected) -> None:
    """An agent dies in a call, LiveKit is away while agents are started, and Redis restarts."""
    with system.client(headers={"X-API-Key": SECRETS["API_KEYS"]}) as client:
        session_id = client.post("/api/session/start", json={"userId": "c"}).json()["sessionId"]
    pid = system.wait_status(session_id, "ready")["agentPid"]
    os.kill(pid, signal.SIGSEGV)
    wait_until(lambda: system.session(session_id)["agentPid"] not in (pid, None), timeout_s=60, what="a successor")

    livekit = system.pid_of("livekit")
    os.kill(livekit, signal.SIGSTOP)
    for warm in system.agent_pids():
        os.kill(warm, signal.SIGKILL)
    wait_until(lambda: _failures(system, store) > 0, timeout_s=60, what="a spawn failed")
    os.kill(livekit, signal.SIGCONT)
    system.wait_pool(2, RECOVERY_S)  # what was under way would else be queued again when its deadline has passed

    store.stop(signal.SIGKILL)
    _look(system, seen, "without Redis")
    seen.add("doctor without Redis", _command(system, "greenroom", "doctor"))
    store.start()
    _guard(store)
    system.wait_healthy(RECOVERY_S)
    system.wait_pool(2, RECOVERY_S)


def _failures(system: System, store: RedisServer) -> int:
    with _store(store) as client:
        return sum(map(int, client.hvals("stats:spawnFailures")))


def _look(system: System, seen: Collected, when: str) -> None:
    paths = [
        "/", "/console", "/docs", "/openapi.json", "/metrics", "/health/live", "/health/ready", "/api/health",
        "/api/pool", "/api/pool/history", "/api/hosts", "/api/sessions",
    ]  # fmt: skip
    with system.client(headers=system.admin) as client:
        answers = {path: client.get(path) for path in paths}
        if answers["/api/sessions"].status_code == 200:
            for session in answers["/api/sessions"].json()["sessions"]:
                for part in ("", "/logs?limit=1000", "/life", "/turns"):
                    path = f"/api/session/{session['sessionId']}{part}"
                    answers[path] = client.get(path)
    for path, answer in answers.items():
        seen.add(f"GET {path} {when}", f"{answer.headers}\n{answer.text}")


def _collect_redis(store: RedisServer, seen: Collected) -> None:
    """Every value of every key, the broker's included, and what Redis shows of its clients and slow commands."""
    readers = {
        "string": "GET {}", "hash": "HGETALL {}", "list": "LRANGE {} 0 -1", "set": "SMEMBERS {}",
        "zset": "ZRANGE {} 0 -1", "stream": "XRANGE {} - +",
    }  # fmt: skip
    with _store(store) as client:
        for key in client.scan_iter():
            kind = client.type(key).decode()
            words = readers[kind].split()
            value = client.execute_command(*(key if word == "{}" else word for word in words))
            seen.add(f"Redis {key.decode()}", repr(value))
        seen.add("Redis CLIENT LIST", str(client.execute_command("CLIENT LIST")))
        seen.add("Redis SLOWLOG", str(client.execute_command("SLOWLOG GET")))


def _collect_processes(system: System, seen: Collected) -> None:
    """Everybody on the machine sees command lines; what an agent has in its environment, all code in it sees."""
    assert system.process is not None
    for process in [psutil.Process(system.process.pid), *system.descendants()]:
        with contextlib.suppress(psutil.Error):
            seen.add(f"command line of {process.pid}", " ".join([process.name(), *process.cmdline()]))
            if process.name() == "greenroom-agent":
                held = {name: value for name, value in process.environ().items() if name not in AGENTS_HAVE}
                seen.add(f"environment of agent {process.pid}", json.dumps(held))


def _collect_supervisor(system: System, seen: Collected) -> None:
    for words in (["status"], ["avail"], ["pid"], ["tail", "api"]):
        said = _command(system, "supervisorctl", "-c", str(system.home / "supervisord.conf"), *words)
        seen.add(f"supervisorctl {words[0]}", said)


def _collect_files(system: System, seen: Collected) -> None:
    seen.add("what run printed", system.output)
    for path in system.home.rglob("*"):
        if path.is_file() and path.name != OWN_CONFIGURATION:
            seen.add(f"file {path.relative_to(system.home)}", path.read_bytes())


def test_no_secret_and_no_token_is_anywhere(collected: Collected) -> None:
    assert collected.leaks() == []


def test_all_of_it_was_looked_at(collected: Collected, capsys: pytest.CaptureFixture[str]) -> None:
    places = collected.places
    with capsys.disabled():
        characters = sum(map(len, places.values()))
        print(f"\nsecrets: {len(places)} places with {characters} characters looked through")
    for begin in ("stream /api/events", "refusal 7", "greenroom talk", "Redis session:", "Redis host:", "Redis idem:",
                  "environment of agent", "file logs/greenroom.log", "file host/logs/"):  # fmt: skip
        assert any(place.startswith(begin) and text for place, text in places.items()), begin
    log = places["file logs/greenroom.log"]
    assert "agent is gone" in log
    assert "store_unavailable" in log
    assert any("127.0.0.1:1" in text for place, text in places.items() if place.startswith("file host/logs/"))


def test_a_secret_and_a_token_would_be_found() -> None:
    seen = Collected()
    seen.add("here", f"x {SECRETS['ADMIN_TOKEN']} y")
    seen.add("there", f"?access_token={_callers_jwt()}")
    assert [leak.split(":")[0] for leak in seen.leaks()] == ["ADMIN_TOKEN in here", "a token in there"]


def test_files_with_secrets_are_their_owners_alone(system: System, collected: Collected) -> None:
    for path in (system.home / OWN_CONFIGURATION, system.folder / ".env"):
        assert path.stat().st_mode & 0o077 == 0, path
    assert system.home.stat().st_mode & 0o077 == 0
