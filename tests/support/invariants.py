"""What must be true of everything in Redis at any moment, read key by key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields

from contract import keys
from contract.states import FINAL_STATES, LIVE_STATES, SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.records import HostReport

ROW = re.compile(r"^(\S+)\s+(hash|list|set|zset|string|stream)\s+(.+?)\s{2,}")
GONE = -2
"""What PTTL says of a key that is not there."""
FIELDS = {
    "session": set(keys.SESSION_FIELDS),
    "host": {*keys.HOST_FIELDS, *(field.name for field in fields(HostReport))},
    "breaker": set(keys.BREAKER_FIELDS),
    "rollout": set(keys.ROLLOUT_FIELDS),
}
"""Of each hash whose fields are documented, by its key's first word."""
RECORD_S = 86_400.0
"""SESSION_RECORD_S, where it is not set."""
BROKER = ("celery", "_kombu", "unacked", "redbeat:")
"""How the task queue's own keys begin; its queues are there only while something waits in them."""


@dataclass(frozen=True)
class Documented:
    """One row of the table in ``contract.keys``."""

    pattern: re.Pattern[str]
    kind: str
    for_ever: bool


def documented() -> list[Documented]:
    rows = [ROW.match(line) for line in (keys.__doc__ or "").splitlines()]
    found = []
    for row in filter(None, rows):
        pattern = re.compile(re.sub(r"<[^>]+>", r"[^:]+", row[1].replace("<state>", f"({'|'.join(SessionState)})")))
        kept = row[3].startswith(("for ever", "newest", "~"))
        found.append(Documented(pattern, row[2], kept))
    assert len(found) > 20, "the table of keys could not be read"
    return found


async def check_everything(client: Client, *, ignore: tuple[str, ...] = (), record_s: float = RECORD_S) -> None:
    """Every key is documented, has the type and the life that its row promises, and all agree with each other.

    Keys that begin as one of ``ignore`` are another program's. ``record_s`` is SESSION_RECORD_S.
    """
    await check_keys(client, ignore=ignore)
    await check_agreement(client, record_s=record_s)


async def check_keys(client: Client, *, ignore: tuple[str, ...] = ()) -> None:
    table = documented()
    async for key in client.scan_iter():
        if key.startswith(ignore):
            continue
        row = next((row for row in table if row.pattern.fullmatch(key)), None)
        assert row is not None, f"{key} is not in contract/keys.py"
        assert await client.type(key) in {row.kind, "none"}, key
        mortal = not row.for_ever
        family = key.split(":")[0]
        if row.kind == "hash" and family in FIELDS:
            strange = set(await client.hkeys(key)) - FIELDS[family]
            assert not strange, f"{key} has fields that are not documented: {sorted(strange)}"
        if family == "session":
            mortal = await client.hget(key, "status") in FINAL_STATES
        left_ms = await client.pttl(key)
        if left_ms == GONE:  # its time came since it was listed
            continue
        assert (left_ms >= 0) is mortal, f"{key}: {'no' if mortal else 'a'} TTL"


async def _forgotten(client: Client, record_s: float) -> set[str]:
    """Sessions that ended so long ago that their record is gone by its time; the reaper takes them off their list."""
    seconds, _ = await client.time()
    ended = [await client.zrangebyscore(keys.sessions_in(s), "-inf", seconds + 1 - record_s) for s in FINAL_STATES]
    return {session_id for ids in ended for session_id in ids}


async def check_agreement(client: Client, *, record_s: float = RECORD_S) -> None:
    forgotten = await _forgotten(client, record_s)
    by_state = {state: set(await client.zrange(keys.sessions_in(state), 0, -1)) for state in SessionState}
    listed = [session_id for ids in by_state.values() for session_id in ids]
    assert len(listed) == len(set(listed)), "a session is in two states"
    status: dict[str, str] = {}
    async for key in client.scan_iter("session:*"):
        status[key.removeprefix("session:")] = str(await client.hget(key, "status"))
    of_lists = {session_id: str(state) for state, ids in by_state.items() for session_id in ids}
    gone = forgotten - status.keys()
    differ = sorted(dict(status.items() ^ {i: state for i, state in of_lists.items() if i not in gone}.items()))
    assert not differ, f"records and the lists of their states differ: {differ}"

    kind_of = {i: await client.hget(keys.session(i), "kind") or keys.DEFAULT_KIND for i in listed}
    ready = await _members(client, keys.POOL_READY, kind_of)
    warming = await _members(client, keys.POOL_WARMING, kind_of)
    agents = await _members(client, keys.POOL_AGENTS, kind_of)
    spawning = set(await client.zrange(keys.POOL_SPAWNING, 0, -1))
    waiting = set(await client.zrange(keys.POOL_WAITING, 0, -1))
    assert ready <= by_state[SessionState.READY]
    assert warming <= spawning
    assert not spawning & waiting
    in_call = by_state[SessionState.ASSIGNED] | by_state[SessionState.ACTIVE]
    replaced = {i for i in in_call if not await client.hexists(keys.session(i), "agentPid")}
    assert spawning | waiting == by_state[SessionState.STARTING] | replaced
    assert not waiting & replaced
    assert agents == set().union(*(by_state[state] for state in LIVE_STATES)) - waiting

    users: dict[str, set[str]] = {}
    for state in LIVE_STATES:
        for session_id in by_state[state]:
            if owner := await client.hget(keys.session(session_id), "owner"):
                users.setdefault(owner, set()).add(session_id)
    assert {k.split(":")[1]: set(await client.smembers(k)) async for k in client.scan_iter("user:*:sessions")} == users

    owned: dict[str, set[str]] = {}
    for state in LIVE_STATES:
        for session_id in by_state[state]:
            host = await client.hget(keys.session(session_id), "host")
            if host:
                owned.setdefault(host, set()).add(session_id)
    listed_of = {k.split(":")[1]: set(await client.smembers(k)) async for k in client.scan_iter("host:*:sessions")}
    assert listed_of == owned


async def _members(client: Client, key: str, kind_of: Mapping[str, str]) -> set[str]:
    """The members of one set of each kind of agent: each session's in that of its own kind."""
    found: set[str] = set()
    for kind in {keys.DEFAULT_KIND, *kind_of.values()}:
        members = set(await client.smembers(keys.of_kind(key, kind)))
        assert all(kind_of[i] == kind for i in members), f"{keys.of_kind(key, kind)} has another kind's"
        found |= members
    return found
