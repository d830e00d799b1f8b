"""Hosts through Redis: their heartbeats, a stream of commands to each, and the replies on keys of their own."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from contract import keys
from orchestrator.adapters.redis_client import Client, Scripts, again, translated
from orchestrator.domain.errors import HostIdTakenError, HostNotFoundError, HostUnavailableError
from orchestrator.records import DrainOrder, Heard, HostReply, HostReport, HostView, number_in

KEPT_S = 3600
"""One that vanished is listed for so long: for operators, and longer than its loss can take to be seen."""
KEPT_STOPPED_S = 600
"""One that was stopped in order: each deployment of containers leaves some behind."""
KEPT_DRAINING_S = 604_800
"""A machine that is drained to be mended is still drained when it is back within a week."""
REPLY_TTL_S = 10
LOGS_TIMEOUT_S = 1.5
ONE_WAIT_S = 0.5
"""Redis is asked again after that: on a busy machine its word that there is nothing comes late, and is waited for only
``SOCKET_TIMEOUT_S``."""
COMMANDS_AT_ONCE = 128


class RedisHosts:
    """``ports.HostRegistry`` and ``ports.Hosts``; also the daemon's own end of its stream."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._scripts = Scripts(client)

    # --- heartbeats ------------------------------------------------------------------------------------

    async def heartbeat(self, report: HostReport, lease_s: float, *, drains: bool = False) -> Heard:
        """See ``ports.HostRegistry``."""
        fields = [str(part) for pair in asdict(report).items() for part in pair]
        own = [keys.host(report.host), keys.HOSTS]
        args = [report.host, report.instance, lease_s, KEPT_S, KEPT_DRAINING_S, "1" if drains else "", *fields]
        accepted, *answer = await self._scripts.again("heartbeat", own, args)
        if accepted != "1":
            heartbeat, left_s = answer
            raise HostIdTakenError(report.host, heartbeat=heartbeat, lease_left_s=float(left_s))
        now, draining, since, by, lost, unknown = answer
        for_s = float(now) - (number_in({"since": since}, "since") or float(now))
        order = DrainOrder(max(0.0, for_s), by == "stop") if draining == "1" else None
        return Heard(was_lost=lost == "1", was_unknown=unknown == "1", drain=order)

    async def suspect(self, host: str, heard: str) -> None:
        """See ``ports.HostRegistry``."""
        await self._scripts.again("suspect_host", [keys.host(host)], [heard])

    async def drain(self, host: str, *, by_stop: bool = False) -> None:
        """See ``ports.HostRegistry``."""
        await self._set_draining(host, "1", "stop" if by_stop else "operator")

    async def undrain(self, host: str) -> None:
        """See ``ports.HostRegistry``."""
        await self._set_draining(host, "0", "")

    async def _set_draining(self, host: str, wanted: str, by: str) -> None:
        if not await self._scripts.again("drain", [keys.host(host)], [host, wanted, by, KEPT_DRAINING_S]):
            raise HostNotFoundError

    async def sign_off(self, host: str, instance: str = "") -> None:
        """See ``ports.HostRegistry``."""
        await self._scripts.again("sign_off", [keys.host(host)], [instance, KEPT_STOPPED_S])

    async def forget_gone(self) -> list[str]:
        """See ``ports.HostRegistry``."""
        kept_s = [KEPT_STOPPED_S, KEPT_S]
        return [str(host) for host in await self._scripts.again("forget_hosts", [keys.HOSTS], kept_s)]

    async def hosts(self) -> list[HostView]:
        """See ``ports.HostRegistry``."""

        async def read() -> list[HostView]:
            ids = sorted(str(i) for i in await self._client.smembers(keys.HOSTS))
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.time()
                for host in ids:
                    pipe.hgetall(keys.host(host))
                    pipe.scard(keys.host_sessions(host))
                (seconds, micros), *rows = await pipe.execute()
            now = seconds + micros / 1e6
            found = zip(ids, rows[::2], rows[1::2], strict=True)
            return [_view(host, row, sessions, now) for host, row, sessions in found if row]

        return await again(read)

    # --- commands, as the API gives them ---------------------------------------------------------------

    async def acknowledged(self, reply_id: str, timeout_s: float) -> HostReply | None:
        """See ``ports.Hosts``."""
        deadline = time.monotonic() + timeout_s
        while (left_s := deadline - time.monotonic()) > 0:
            with translated():
                row = await self._client.blpop([keys.reply(reply_id)], timeout=min(left_s, ONE_WAIT_S))
            if row is not None:
                return _reply(str(row[1]))
        return None

    async def is_heard(self, host: str, within_s: float) -> bool:
        """See ``ports.Hosts``."""
        with translated():
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.time()
                pipe.hgetall(keys.host(host))
                (seconds, micros), row = await pipe.execute()
        now = float(seconds) + float(micros) / 1e6
        heard_at, until = number_in(row, "heartbeatAt") or 0.0, number_in(row, "leaseUntil") or 0.0
        return now - heard_at <= within_s and until > now

    async def logs(self, host: str, session_id: str, limit: int) -> list[Mapping[str, object]]:
        """See ``ports.Hosts``."""
        reply_id = secrets.token_hex(8)
        await self._tell(host, type="logs", session=session_id, limit=limit, reply=keys.reply(reply_id))
        reply = await self.acknowledged(reply_id, LOGS_TIMEOUT_S)
        if reply is None:
            raise HostUnavailableError("The agent's host did not answer; it may be restarting. Try again.")
        lines = reply.data.get("lines", [])
        return list(lines) if isinstance(lines, list) else []

    async def load_anew(self, host: str, rollout_id: str) -> None:
        """See ``ports.Hosts``."""
        await self._tell(host, type="load", rollout=rollout_id)

    async def _tell(self, host: str, **command: Any) -> None:
        """As ``tell`` in ``lua/_prelude.lua``."""
        oldest = await self.position(keys.COMMANDS_S)
        with translated():
            async with self._client.pipeline() as pipe:
                pipe.xadd(keys.host_commands(host), command, maxlen=1000, approximate=True)  # type: ignore[arg-type]
                pipe.xtrim(keys.host_commands(host), minid=oldest, approximate=False)
                pipe.expire(keys.host_commands(host), keys.COMMANDS_S)
                await pipe.execute()

    # --- commands, as the daemon takes them ------------------------------------------------------------

    async def position(self, age_s: float) -> str:
        """The id after which come the commands of the last ``age_s`` seconds."""
        with translated():
            seconds, micros = await self._client.time()
        return f"{int((seconds + micros / 1e6 - age_s) * 1000)}-0"

    async def commands(self, host: str, after: str, block_ms: int) -> list[tuple[str, Mapping[str, str]]]:
        """The commands after an id, waiting up to ``block_ms`` for the first."""
        with translated():
            rows: Any = await self._client.xread(
                {keys.host_commands(host): after}, count=COMMANDS_AT_ONCE, block=block_ms
            )
        if not rows:
            return []
        entries = rows[0][1] if isinstance(rows, list) else next(iter(rows.values()))
        return [(str(entry_id), fields) for entry_id, fields in entries]

    async def answer(self, reply_key: str, reply: HostReply) -> None:
        """Answer one command on the key that its sender waits on."""
        text = json.dumps({"ok": reply.ok, "reason": reply.reason, "data": dict(reply.data)})

        async def push() -> None:
            async with self._client.pipeline(transaction=False) as pipe:
                pipe.rpush(reply_key, text)
                pipe.expire(reply_key, REPLY_TTL_S)
                await pipe.execute()

        # Sent again where its connection broke, as all do when Redis restarts: a lost answer would cost a healthy agent
        # its life. Sent twice does no harm, for only the first is read.
        await again(push)


def _view(host: str, fields: Mapping[str, str], sessions: int, now: float) -> HostView:
    alive = (number_in(fields, "leaseUntil") or 0.0) > now
    draining = fields.get("draining") == "1"
    return HostView(
        host=host,
        alive=alive,
        heartbeat_age_s=round(max(0.0, now - (number_in(fields, "heartbeatAt") or 0.0)), 3),
        draining=draining,
        fields=fields,
        draining_since=number_in(fields, "drainingSince") if draining else None,
        drained=draining and sessions == 0 and (not alive or fields.get("drained") == "True"),
    )


def _reply(text: str) -> HostReply:
    content = json.loads(text)
    return HostReply(content["ok"], content.get("reason"), content.get("data", {}))
