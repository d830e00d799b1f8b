"""What has to be true after all faults, whatever they were. Each look returns what is not, in words."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import Any

import psutil

from benchmarks.chaos.traffic import Traffic
from benchmarks.chaos.world import LOOK_S, NotRecoveredError, World
from contract import keys
from contract.states import FINAL_STATES, LIVE_STATES
from orchestrator.adapters.redis_client import connect
from tests.support.invariants import BROKER, RECORD_S, check_everything

SETTLE_S = 40.0
"""For users who just left, and for rooms that a client's reconnection made."""
KEYS_LOOKS = 20


def of_visits(traffic: Traffic) -> dict[str, list[str]]:
    """Starts that were neither ready nor clearly refused, and whatever else a user saw that they should not."""
    starts, users = [], defaultdict(set)
    for visit in traffic.visits:
        if visit.outcome in (None, "broken"):
            starts.append(f"{visit.user}: {visit.words or 'came to no end'}")
        for session_id in visit.sessions:
            users[session_id].add(visit.user)
    twice = [f"{session_id}: {sorted(who)}" for session_id, who in users.items() if len(who) > 1]
    return {"every start is ready or clearly refused, and every call talks": starts, "no session for two users": twice}


def of_records(world: World, traffic: Traffic) -> dict[str, list[str]]:
    """Sessions without an end or a reason, and agents that had two users."""
    lost, served = [], defaultdict(set)
    with world.store() as store:
        for visit in traffic.visits:
            for session_id in visit.sessions:
                record = store.hgetall(keys.session(session_id))
                if not record:
                    lost.append(f"{session_id} of {visit.user} is not known")
                    continue
                if record["userId"] != visit.user:
                    lost.append(f"{session_id} of {visit.user} is {record['userId']}'s")
                if record["status"] not in FINAL_STATES or not (record.get("endReason") or record.get("error")):
                    lost.append(f"{session_id} of {visit.user}: {record['status']}, no reason")
                served[_agent(record)].add(visit.user)
    twice = [f"{agent}: {sorted(who)}" for agent, who in served.items() if agent and len(who) > 1]
    return {"no session is lost": lost, "no agent for two users": twice}


def reasons(world: World, traffic: Traffic) -> dict[str, str]:
    """How each session that ended early says it ended."""
    found = {}
    with world.store() as store:
        for visit in traffic.visits:
            if visit.outcome == "cut" and visit.session_id:
                record = store.hgetall(keys.session(visit.session_id))
                found[visit.user] = str(record.get("endReason") or record.get("error"))
    return found


async def of_rest(world: World) -> dict[str, list[str]]:
    """With all users gone there is the pool, and with that ended nothing."""
    left: list[str] = []
    stray: list[str] = []
    left += await _settles(world, "after the last user")
    stray += await _keys(world)
    left += await _empty_pool(world)
    left += await _settles(world, "with the pool at 0")
    stray += await _keys(world)
    return {"no orphan, zombie, session or room is left": left, "no stray key is left": stray}


async def _empty_pool(world: World) -> list[str]:
    with world.system.client(headers=world.system.admin) as client:
        client.post("/api/pool/resize", json={"size": 0}).raise_for_status()
    try:
        await world.until(lambda: world.system.pool().get("ready") == 0, "no warm agent, with the pool at 0", SETTLE_S)
    except NotRecoveredError as error:
        return [str(error)]
    return []


async def _settles(world: World, when: str) -> list[str]:
    seen: list[str] = []

    def look() -> bool:
        seen[:] = _differences(world, asyncio.run_coroutine_threadsafe(world.rooms(), loop).result(20))
        return not seen

    loop = asyncio.get_running_loop()
    try:
        await world.until(look, "all is ended", SETTLE_S)
    except NotRecoveredError:
        return [f"{when}: {each}" for each in seen]
    return []


def _differences(world: World, rooms: set[str]) -> list[str]:
    """Where sessions, agents and rooms are not those of the pool."""
    with world.store() as store:
        pool = store.smembers(keys.POOL_READY)
        live = {i for state in LIVE_STATES for i in store.zrange(keys.sessions_in(state), 0, -1)}
        pids = {int(store.hget(keys.session(i), "agentPid") or 0) for i in live}
    agents = {p.pid for p in world.processes() if _name(p) == "greenroom-agent"}
    found = [f"session {i} lives" for i in live - pool]
    found += [f"agent process {pid} has no session" for pid in agents - pids]
    found += [f"agent {pid} of a session is no process" for pid in pids - agents]
    found += [f"room {room}" for room in rooms - live] + [f"{room} has no room" for room in live - rooms]
    return found + [f"zombie {zombie}" for zombie in world.zombies()]


async def _keys(world: World) -> list[str]:
    """What is wrong at each look: a task that beat has just queued is a key, too, for a moment."""
    client = connect(world.server.url)
    record_s = float(world.system.settings.get("SESSION_RECORD_S", RECORD_S))
    try:
        for _ in range(KEYS_LOOKS):
            try:
                await check_everything(client, ignore=BROKER, record_s=record_s)
            except AssertionError as error:
                wrong = next(iter(str(error).splitlines()), repr(error))
            else:
                return []
            await asyncio.sleep(LOOK_S)
        return [wrong]
    finally:
        await client.aclose()


def of_end(world: World) -> dict[str, list[str]]:
    """After ``greenroom run`` has ended."""
    found = [f"{_name(process)} ({process.pid})" for process in world.processes()]
    return {"no process outlives the run": found}


def _agent(record: dict[str, Any]) -> str:
    pid = record.get("agentPid")
    return f"{record.get('host')}:{pid}:{record.get('agentTicks')}" if pid else ""


def _name(process: psutil.Process) -> str:
    try:
        return process.name()
    except psutil.Error:
        return ""
