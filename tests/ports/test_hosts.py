"""Hosts: their heartbeats, what they are told, and what they answer."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from contract import keys
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import HostIdTakenError, HostUnavailableError
from orchestrator.records import Heard, HostReply
from tests.support.records import HOST, beat, host_report, start_request, warm, warm_id


async def test_a_heartbeat_says_how_the_host_is(hosts: RedisHosts, client: Client) -> None:
    assert await hosts.hosts() == []
    await beat(hosts, "b")
    await beat(hosts, "a", lease_s=-1)
    await client.hset(keys.host("a"), "draining", "1")
    first, second = await hosts.hosts()
    assert (first.host, first.alive, first.draining) == ("a", False, True)
    assert (second.host, second.alive, second.draining) == ("b", True, False)
    assert 0 <= second.heartbeat_age_s < 60
    assert second.fields["zygote"] == "ready"
    assert second.fields["agent_private_bytes"] == "11000000"


async def test_a_host_hears_whether_it_was_known(hosts: RedisHosts, client: Client) -> None:
    assert (await hosts.heartbeat(host_report(), 60)).was_unknown
    assert not (await hosts.heartbeat(host_report(), 60)).was_unknown
    await client.flushall()  # as a Redis that kept nothing comes back
    assert (await hosts.heartbeat(host_report(), 60)).was_unknown


async def test_a_heartbeat_does_not_undo_a_drain(hosts: RedisHosts, client: Client) -> None:
    await beat(hosts)
    await client.hset(keys.host(HOST), "draining", "1")
    await beat(hosts)
    [view] = await hosts.hosts()
    assert view.draining


async def test_a_lease_ends_by_itself_or_at_once(hosts: RedisHosts) -> None:
    await beat(hosts, lease_s=0.02)
    async with asyncio.timeout(10):
        while (await hosts.hosts())[0].alive:
            await asyncio.sleep(0.005)
    await beat(hosts)
    assert (await hosts.hosts())[0].alive
    await hosts.sign_off(HOST)
    assert not (await hosts.hosts())[0].alive


# --- two daemons with one id ---------------------------------------------------------------------------


async def _heard(hosts: RedisHosts, instance: str, lease_s: float = 60) -> Heard:
    return await hosts.heartbeat(replace(host_report(), instance=instance), lease_s)


async def test_a_second_daemon_of_the_same_id_is_refused_and_changes_nothing(hosts: RedisHosts, client: Client) -> None:
    await _heard(hosts, "one")
    before = await client.hgetall(keys.host(HOST))
    with pytest.raises(HostIdTakenError, match=f"HOST_ID={HOST} is another") as refused:
        await hosts.heartbeat(replace(host_report(), instance="two", agents=0), 60)
    assert "\n" not in str(refused.value)
    assert (refused.value.heartbeat, 50 < refused.value.lease_left_s <= 60) == (before["heartbeatAt"], True)
    assert await client.hgetall(keys.host(HOST)) == before
    await hosts.sign_off(HOST, "two")
    assert await client.hgetall(keys.host(HOST)) == before, "the lease is not its own to end"
    assert not (await _heard(hosts, "one")).was_unknown


@pytest.mark.parametrize("how", ["its lease ran out", "it signed off", "it said nothing of the kind"])
async def test_another_daemon_takes_a_host_over(hosts: RedisHosts, client: Client, how: str) -> None:
    instance = "" if how == "it said nothing of the kind" else "one"  # an older version's
    await _heard(hosts, instance, lease_s=-1 if how == "its lease ran out" else 60)
    if how == "it signed off":
        await hosts.sign_off(HOST, "one")
    await _heard(hosts, "two")
    assert await client.hget(keys.host(HOST), "instance") == "two"
    with pytest.raises(HostIdTakenError):
        await _heard(hosts, "one")


# --- hosts that are gone -------------------------------------------------------------------------------


async def test_a_host_is_remembered_for_a_while(hosts: RedisHosts, client: Client) -> None:
    await beat(hosts)
    assert 1800 < await client.ttl(keys.host(HOST)) <= 3600, "the alert HostLost sees it for half an hour"
    await hosts.sign_off(HOST)
    assert 0 < await client.ttl(keys.host(HOST)) <= 600
    await beat(hosts)
    assert await client.ttl(keys.host(HOST)) > 1800


async def test_one_that_is_not_known_is_not_made_up_by_its_sign_off(hosts: RedisHosts, client: Client) -> None:
    await hosts.sign_off(HOST)
    assert await client.exists(keys.host(HOST)) == 0


async def test_a_host_that_is_long_gone_is_neither_listed_nor_looked_through(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    for host in ("gone", "here", "has-agents"):
        await beat(hosts, host)
        await hosts.load_anew(host, "r")
    await warm(store, 1, host="has-agents")
    await client.delete(keys.host("gone"), keys.host("has-agents"))
    assert [view.host for view in await hosts.hosts()] == ["here"]

    assert await hosts.forget_gone() == ["gone"]
    assert await hosts.forget_gone() == []
    assert await client.smembers(keys.HOSTS) == {"here", "has-agents"}
    assert await client.exists(keys.host_commands("gone")) == 0
    assert await client.exists(keys.host_commands("here")) == 1

    await store.retire(1, "smaller")
    assert await hosts.forget_gone() == ["has-agents"]


async def test_one_that_comes_back_after_its_record_was_gone_is_suspected_no_more(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    await beat(hosts)
    await warm(store, 1)
    await client.delete(keys.host(HOST))
    assert await hosts.forget_gone() == []
    [view] = await hosts.hosts()
    assert (view.alive, view.heartbeat_age_s) == (False, pytest.approx(600, abs=5))
    assert view.suspect_at is not None
    assert 0 < await client.ttl(keys.host(HOST)) <= 3600

    assert await hosts.forget_gone() == []
    assert (await hosts.hosts())[0].suspect_at == view.suspect_at, "it was not suspected anew"
    heard = await hosts.heartbeat(host_report(), 60, drains=True)
    assert heard.was_unknown, "it is to write its agents anew"
    assert heard.drain is not None
    [view] = await hosts.hosts()
    assert (view.alive, view.suspect_at) == (True, None)
    assert await hosts.forget_gone() == []


async def test_hosts_that_are_gone_hold_nothing_up(hosts: RedisHosts, client: Client) -> None:
    """Scripts look through the set: what a start costs must not depend on how many hosts there ever were."""
    pods = {f"pod-{number}" for number in range(3000)}
    await client.sadd(keys.HOSTS, *pods)
    await beat(hosts)
    assert {*await hosts.forget_gone()} == pods
    assert await client.smembers(keys.HOSTS) == {HOST}


async def test_what_a_host_is_told_is_not_kept_for_long(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    """It may hold a user's prompt."""
    await beat(hosts)
    stream = keys.host_commands(HOST)
    await warm(store, 1)
    await store.claim(start_request(), "r")
    assert 0 < await client.ttl(stream) <= keys.COMMANDS_S
    await client.persist(stream)
    await hosts.load_anew(HOST, "r")
    assert 0 < await client.ttl(stream) <= keys.COMMANDS_S


async def test_a_host_that_is_told_things_all_day_keeps_only_the_last_minutes(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    await beat(hosts)
    stream = keys.host_commands(HOST)
    await warm(store, 1)
    await client.xadd(stream, {"type": "assign"}, id=await hosts.position(keys.COMMANDS_S + 1))
    await client.xadd(stream, {"type": "end"}, id=await hosts.position(keys.COMMANDS_S - 60))
    await store.claim(start_request(), "r")
    assert [fields["type"] for _, fields in await hosts.commands(HOST, "0", 1)] == ["end", "assign"]
    await client.delete(stream)
    await client.xadd(stream, {"type": "assign"}, id=await hosts.position(keys.COMMANDS_S + 1))
    await hosts.load_anew(HOST, "r")
    assert [fields["type"] for _, fields in await hosts.commands(HOST, "0", 1)] == ["load"]


async def _told(client: Client, **command: Any) -> None:
    await client.xadd(keys.host_commands(HOST), command)
    await client.expire(keys.host_commands(HOST), 60)


async def test_commands_come_in_order_from_where_the_daemon_was(hosts: RedisHosts, client: Client) -> None:
    assert await hosts.commands(HOST, "0", 1) == []
    for number in range(5):
        await _told(client, type="end", session=str(number))
    taken = await hosts.commands(HOST, "0", 1)
    assert [fields["session"] for _, fields in taken] == ["0", "1", "2", "3", "4"]
    assert [fields["session"] for _, fields in await hosts.commands(HOST, taken[2][0], 1)] == ["3", "4"]
    assert await hosts.commands(HOST, taken[-1][0], 1) == []


async def test_a_waiting_daemon_is_woken(hosts: RedisHosts, client: Client) -> None:
    waiting = asyncio.create_task(hosts.commands(HOST, "0", 1500))
    await asyncio.sleep(0)
    await _told(client, type="end")
    assert [fields for _, fields in await waiting] == [{"type": "end"}]


async def test_a_reply_reaches_whoever_waits_for_it(hosts: RedisHosts, client: Client) -> None:
    waiting = asyncio.create_task(hosts.acknowledged("r1", 1.5))
    await hosts.answer(keys.reply("r1"), HostReply(ok=False, reason="taken"))
    assert await waiting == HostReply(ok=False, reason="taken", data={})
    await hosts.answer(keys.reply("r2"), HostReply(ok=True, data={"x": [1]}))
    assert 0 < await client.ttl(keys.reply("r2")) <= 10
    assert await hosts.acknowledged("r2", 1) == HostReply(ok=True, data={"x": [1]})


async def test_no_reply(hosts: RedisHosts) -> None:
    assert await hosts.acknowledged("nobody", 0.02) is None


async def test_a_reply_that_is_late(hosts: RedisHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis said in between that there is none."""
    monkeypatch.setattr("orchestrator.adapters.redis_hosts.ONE_WAIT_S", 0.01)
    waiting = asyncio.create_task(hosts.acknowledged("r1", 30))
    await asyncio.sleep(0.1)
    await hosts.answer(keys.reply("r1"), HostReply(ok=True))
    assert await waiting == HostReply(ok=True)


async def test_whether_a_host_was_heard_of_late(hosts: RedisHosts, client: Client) -> None:
    assert not await hosts.is_heard(HOST, 30), "nobody knows it"
    await beat(hosts)
    assert await hosts.is_heard(HOST, 30)
    seconds, _ = await client.time()
    await client.hset(keys.host(HOST), "heartbeatAt", seconds - 31)
    assert not await hosts.is_heard(HOST, 30)
    await client.hset(keys.host(HOST), "heartbeatAt", "yesterday")
    assert not await hosts.is_heard(HOST, 30)
    await beat(hosts)
    await hosts.sign_off(HOST)
    assert not await hosts.is_heard(HOST, 30), "it left"


async def test_logs(hosts: RedisHosts) -> None:
    lines = [{"at": 1.0, "text": "hello"}]

    async def daemon() -> None:
        [(_, command)] = await hosts.commands(HOST, "0", 1500)
        assert (command["type"], command["session"], command["limit"]) == ("logs", warm_id(1), "50")
        await hosts.answer(command["reply"], HostReply(ok=True, data={"lines": lines}))

    answer, _ = await asyncio.gather(hosts.logs(HOST, warm_id(1), 50), daemon())
    assert answer == lines


async def test_logs_of_a_host_that_does_not_answer(hosts: RedisHosts, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.adapters.redis_hosts.LOGS_TIMEOUT_S", 0.02)
    with pytest.raises(HostUnavailableError):
        await hosts.logs(HOST, warm_id(1), 50)
