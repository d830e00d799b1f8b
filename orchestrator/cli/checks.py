"""What ``greenroom doctor`` checks: settings in, findings out."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from orchestrator.cli import livekit_server, redis_server
from orchestrator.cli.console import CommandError
from orchestrator.cli.environment import PROVIDERS, reachable_at
from orchestrator.cli.ports import Wanted, check_free
from orchestrator.cli.readiness import answers

if TYPE_CHECKING:
    from orchestrator.settings import Settings

AGENT_BYTES = 30 * 1024 * 1024
"""Private memory of one agent in a session, at most."""
JOIN_S = 15.0


@dataclass(frozen=True)
class Finding:
    """One thing that was checked."""

    state: Literal["ok", "warn", "bad"]
    what: str
    found: str
    remedy: str = ""


def check_redis(settings: Settings) -> list[Finding]:
    """Ping Redis; look at its version and at whether it may forget keys."""
    import redis

    try:
        redis_server.check(settings.redis_url)
        with redis_server.client_of(settings.redis_url, socket_timeout=3, decode_responses=True) as client:
            info = client.info()
    except CommandError as error:
        found, _, remedy = str(error).partition(": ")[2].rpartition(": ")
        return [Finding("bad", "Redis", found, f"`greenroom run` starts one when REDIS_URL is not set; {remedy}")]
    except redis.RedisError as error:
        return [Finding("bad", "Redis", f"INFO is refused ({error})", "allow this user the command INFO")]
    return [judge_redis_version(str(info["redis_version"])), judge_redis_policy(str(info["maxmemory_policy"]))]


def judge_redis_version(version: str) -> Finding:
    """Say whether a Redis version will do."""
    minimum = ".".join(map(str, redis_server.MINIMUM))
    if tuple(int(part) for part in version.split(".")[:2]) >= redis_server.MINIMUM:
        return Finding("ok", "Redis", f"version {version} answers")
    return Finding("bad", "Redis", f"version {version}", f"install Redis {minimum} or newer")


def judge_redis_policy(policy: str) -> Finding:
    """Say whether Redis may drop keys by itself."""
    if policy == "noeviction":
        return Finding("ok", "Redis memory", "forgets no key by itself")
    return Finding(
        "bad",
        "Redis memory",
        f"maxmemory-policy {policy} may drop sessions",
        "set maxmemory-policy to noeviction in redis.conf",
    )


def check_livekit(settings: Settings) -> list[Finding]:
    """Join a room as a user's browser would, leave, and delete the room."""
    url, key = settings.livekit_url, settings.livekit_api_key
    secret = settings.livekit_api_secret.get_secret_value()
    try:
        livekit_server.check(url, key, secret)
        asyncio.run(_join_and_leave(url, key, secret))
    except CommandError as error:
        found, _, remedy = str(error).partition(": ")[2].rpartition(": ")
        return [Finding("bad", "LiveKit", found, remedy)]
    return [Finding("ok", "LiveKit", f"joined a room at {url}, left it and deleted it")]


async def _join_and_leave(url: str, key: str, secret: str) -> None:
    from livekit import api, rtc

    from orchestrator.adapters.livekit_connect import connect

    name = f"greenroom-doctor-{secrets.token_hex(6)}"
    grants = api.VideoGrants(room_join=True, room=name)
    token = api.AccessToken(key, secret).with_identity("greenroom-doctor").with_grants(grants).to_jwt()
    room = rtc.Room()
    async with api.LiveKitAPI(url, key, secret) as livekit:
        try:
            await livekit.room.create_room(api.CreateRoomRequest(name=name, empty_timeout=30))
            await connect(room, url, token, timeout_s=JOIN_S)
        except (rtc.ConnectError, TimeoutError) as error:
            raise CommandError(
                f"LIVEKIT_URL: {url} answers, but a room cannot be joined ({error or 'timeout'}):"
                " open its WebRTC ports (UDP and TCP) to this machine"
            ) from None
        finally:
            await room.disconnect()
            await livekit.room.delete_room(api.DeleteRoomRequest(room=name))


def check_keys(settings: Settings, environ: Mapping[str, str]) -> list[Finding]:
    """Look which keys are set; their values are shown nowhere."""
    findings = [
        Finding("ok", "ADMIN_TOKEN", "set")
        if settings.admin_token
        else Finding("warn", "ADMIN_TOKEN", "not set: admin calls answer 403", "set it to a long random value")
    ]
    if not any(environ.get(name) for name in PROVIDERS):
        remedy = f"set {', '.join(PROVIDERS)} for real voices"
        return [*findings, Finding("warn", "voice", "an offline demonstration: no provider key is set", remedy)]
    for name, what in PROVIDERS.items():
        if environ.get(name):
            findings.append(Finding("ok", name, "set"))
        else:
            findings.append(Finding("warn", name, f"not set: no provider for {what}", "set it"))
    return findings


def check_memory(max_bots: int, free_bytes: int | None = None) -> list[Finding]:
    """Compare the free memory with what all agents need."""
    from orchestrator.host.machine import free_memory_bytes

    free = free_memory_bytes() if free_bytes is None else free_bytes
    room_for = free // AGENT_BYTES
    found = f"{free / 2**30:.1f} GiB free: room for about {room_for} agents"
    if room_for >= max_bots:
        return [Finding("ok", "memory", found)]
    return [Finding("bad", "memory", found, f"lower MAX_BOTS ({max_bots}), or give the machine more memory")]


def check_ports(settings: Settings, wanted: Sequence[Wanted]) -> list[Finding]:
    """Look whether the ports are free, or are ours already."""
    if answers(f"http://{reachable_at(settings.bind)}:{settings.port}"):
        return [Finding("ok", "ports", f"Greenroom itself runs, on port {settings.port}")]
    try:
        check_free(wanted)
    except CommandError as error:
        found, _, remedy = str(error).rpartition(": ")
        return [Finding("bad", "ports", found, remedy)]
    return [Finding("ok", "ports", "free: " + ", ".join(str(port.number) for port in wanted))]
