"""A host that drains: out of claims and spawns, remembered while it is away, and put back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from contract import keys
from contract.states import SessionState
from orchestrator.adapters.redis_client import Client
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.domain.errors import AtCapacityError, HostDrainingError, HostNotFoundError
from orchestrator.records import Claimed, DrainOrder, HostView, NoneReady
from tests.support.records import (
    HOST,
    LIMITS,
    agent_record,
    beat,
    claimed,
    cold_id,
    host_report,
    identity,
    start_request,
    warm,
    warm_id,
)

S = SessionState


@pytest.fixture(autouse=True)
async def _live_host(hosts: RedisHosts) -> None:
    await beat(hosts)


async def _view(hosts: RedisHosts, host: str = HOST) -> HostView:
    return next(view for view in await hosts.hosts() if view.host == host)


async def _heard(hosts: RedisHosts, *, drained: bool = False) -> DrainOrder | None:
    return (await hosts.heartbeat(replace(host_report(), drained=drained), 60)).drain


async def test_a_host_hears_of_it_with_its_heartbeat(hosts: RedisHosts) -> None:
    assert await _heard(hosts) is None
    await hosts.drain(HOST)
    order = await _heard(hosts)
    assert order is not None
    assert 0 <= order.for_s < 60
    assert not order.by_stop
    await hosts.undrain(HOST)
    assert await _heard(hosts) is None


async def test_it_is_told_to_look_at_once(hosts: RedisHosts) -> None:
    await hosts.drain(HOST)
    await hosts.undrain(HOST)
    assert [fields for _, fields in await hosts.commands(HOST, "0", 1)] == [{"type": "look"}] * 2


async def test_since_when_stays_when_it_is_said_again(hosts: RedisHosts, client: Client) -> None:
    await hosts.drain(HOST)
    await client.hset(keys.host(HOST), "drainingSince", "1000")
    await hosts.drain(HOST)
    assert (await _view(hosts)).draining_since == 1000
    order = await _heard(hosts)
    assert order is not None
    assert order.for_s > 1e6
    await hosts.undrain(HOST)
    assert (await _view(hosts)).draining_since is None


async def test_an_operators_drain_outlives_a_stops(hosts: RedisHosts) -> None:
    await hosts.drain(HOST, by_stop=True)
    order = await _heard(hosts)
    assert order is not None
    assert order.by_stop
    await hosts.drain(HOST)
    await hosts.drain(HOST, by_stop=True)
    order = await _heard(hosts)
    assert order is not None
    assert not order.by_stop


async def test_it_is_remembered_while_the_host_is_away(hosts: RedisHosts, client: Client) -> None:
    await hosts.sign_off(HOST)
    await hosts.drain(HOST)
    assert await client.ttl(keys.host(HOST)) > 86_400
    assert await _heard(hosts) is not None
    assert await client.ttl(keys.host(HOST)) > 86_400
    await hosts.undrain(HOST)
    await beat(hosts)
    assert await client.ttl(keys.host(HOST)) <= 86_400


async def test_an_undrain_is_heard_by_a_host_that_is_away(hosts: RedisHosts, client: Client) -> None:
    """Else one that believes to be drained would say so to a store that has forgotten it."""
    await hosts.drain(HOST)
    await hosts.sign_off(HOST)
    await hosts.undrain(HOST)
    assert await client.ttl(keys.host(HOST)) > 86_400


async def test_a_drain_for_a_stop_is_not_remembered_for_longer_than_the_host(hosts: RedisHosts, client: Client) -> None:
    await hosts.drain(HOST, by_stop=True)
    assert await client.ttl(keys.host(HOST)) <= 3600
    await _heard(hosts)
    assert await client.ttl(keys.host(HOST)) <= 3600
    await hosts.sign_off(HOST)
    assert await client.ttl(keys.host(HOST)) <= 600


@pytest.mark.parametrize("drains", [True, False])
async def test_a_store_that_came_back_empty_hears_of_it_from_the_host(
    hosts: RedisHosts, client: Client, drains: bool
) -> None:
    await client.flushall()
    heard = await hosts.heartbeat(host_report(), 60, drains=drains)
    assert heard.was_unknown
    assert (heard.drain is not None and heard.drain.by_stop is False) is drains
    assert (await _view(hosts)).draining is drains
    assert (await client.ttl(keys.host(HOST)) > 86_400) is drains


async def test_a_store_that_knows_the_host_believes_itself(hosts: RedisHosts) -> None:
    heard = await hosts.heartbeat(host_report(), 60, drains=True)
    assert heard.drain is None, "it was undrained while the host was away"


@pytest.mark.parametrize("how", ["drain", "undrain"])
async def test_nobody_has_this_id(hosts: RedisHosts, client: Client, how: str) -> None:
    with pytest.raises(HostNotFoundError):
        await getattr(hosts, how)("nobody")
    assert await client.exists(keys.host("nobody"), keys.host_commands("nobody")) == 0


async def test_drained_is_what_it_says_itself_and_the_store_agrees_with(store: RedisStore, hosts: RedisHosts) -> None:
    await warm(store, 1)
    claim = await claimed(store)
    await _heard(hosts, drained=True)
    assert not (await _view(hosts)).drained, "it does not drain"
    await hosts.drain(HOST)
    assert not (await _view(hosts)).drained, "what it said before counts no more"
    await _heard(hosts, drained=True)
    assert not (await _view(hosts)).drained, "a call is on it"
    await store.finish(claim.session_id, S.ENDED, "x")
    assert (await _view(hosts)).drained
    await _heard(hosts)
    assert not (await _view(hosts)).drained, "one is on its way"
    await hosts.sign_off(HOST)
    assert (await _view(hosts)).drained, "it is away, and nothing is left on it"


# --- what waits on it ----------------------------------------------------------------------------------


async def test_its_waiting_agents_are_ended_and_its_calls_go_on(
    store: RedisStore, hosts: RedisHosts, client: Client
) -> None:
    await beat(hosts, "other")
    ids = await warm(store, 1, 2, 3)
    claim = await claimed(store)
    [elsewhere] = await warm(store, 9, host="other")
    assert await store.retire_warm(HOST) == [], "it does not drain"
    await hosts.drain(HOST)
    assert {*await store.retire_warm(HOST)} == {*ids} - {claim.session_id}
    assert await store.retire_warm(HOST) == []
    assert await client.smembers(keys.POOL_READY) == {elsewhere}
    for session_id in {*ids} - {claim.session_id}:
        session = await store.get(session_id)
        assert session is not None
        assert (session.state, session.end_reason) == (S.ENDED, "its host drains")
    call = await store.get(claim.session_id)
    assert call is not None
    assert call.state is S.ASSIGNED
    ended = [fields for _, fields in await hosts.commands(HOST, "0", 1) if fields["type"] == "end"]
    assert {fields["session"] for fields in ended} == {*ids} - {claim.session_id}


async def test_it_hands_out_nothing_until_it_is_put_back(store: RedisStore, hosts: RedisHosts) -> None:
    await warm(store, 1)
    await hosts.drain(HOST)
    assert isinstance(await store.claim(start_request(), "r"), NoneReady)
    await hosts.undrain(HOST)
    await warm(store, 1)
    assert isinstance(await store.claim(start_request(), "r"), Claimed)


# --- what would be started -----------------------------------------------------------------------------


async def test_it_begins_no_spawn(store: RedisStore, hosts: RedisHosts) -> None:
    await beat(hosts, "other")
    await hosts.drain(HOST)
    assert await store.reserve_warm(warm_id(1), 3, LIMITS)
    with pytest.raises(HostDrainingError):
        await store.begin_spawn(warm_id(1), 20, HOST)
    assert await store.begin_spawn(warm_id(1), 20, "other") == 1
    assert await store.give_back(warm_id(1), 20, counted=True)
    assert await store.begin_spawn(warm_id(1), 20, "other") == 1


async def test_what_is_over_is_not_given_back(store: RedisStore, hosts: RedisHosts) -> None:
    await store.reserve_warm(warm_id(1), 3, LIMITS)
    await store.record_agent(agent_record(warm_id(1)))
    await hosts.drain(HOST)
    assert not await store.give_back(warm_id(1), 20, counted=False)
    assert not await store.give_back(warm_id(404), 20, counted=False)


async def test_while_every_host_drains_users_wait_and_the_pool_is_left(store: RedisStore, hosts: RedisHosts) -> None:
    await hosts.drain(HOST)
    assert not (await store.snapshot()).kinds["default"].can_spawn
    assert not await store.reserve_warm(warm_id(1), 3, LIMITS)
    for number in range(LIMITS.max_queue):
        queued = await store.reserve_cold(start_request(), cold_id(number), "t", LIMITS)
        assert (queued.dispatched, queued.position) == (False, number + 1)  # type: ignore[union-attr]
    with pytest.raises(AtCapacityError):
        await store.reserve_cold(start_request(), cold_id(99), "t", LIMITS)
    assert not await store.dispatch(cold_id(0), LIMITS)

    await hosts.undrain(HOST)
    assert (await store.snapshot()).kinds["default"].can_spawn
    assert await store.dispatch(cold_id(0), LIMITS)
    assert await store.reserve_warm(warm_id(1), 3, LIMITS)


@pytest.mark.parametrize("other", ["alive", "away", "unheard of"])
async def test_one_other_host_that_lives_is_enough(store: RedisStore, hosts: RedisHosts, other: str) -> None:
    if other != "unheard of":
        await beat(hosts, "other", lease_s=60 if other == "alive" else -1)
    await hosts.drain(HOST)
    assert (await store.snapshot()).kinds["default"].can_spawn is (other == "alive")


async def test_hosts_that_restart_are_no_reason_to_wait(store: RedisStore, hosts: RedisHosts, client: Client) -> None:
    await hosts.sign_off(HOST)
    assert (await store.snapshot()).kinds["default"].can_spawn
    await client.delete(keys.HOSTS, keys.host(HOST))
    assert (await store.snapshot()).kinds["default"].can_spawn


async def test_who_is_given_back_keeps_the_place(store: RedisStore, hosts: RedisHosts) -> None:
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await store.begin_spawn(cold_id(1), 20, HOST)
    await hosts.drain(HOST)
    await store.reserve_cold(start_request(), cold_id(2), "t", LIMITS)
    assert not await store.give_back(cold_id(1), 20, counted=True)
    waiting = sorted((await store.snapshot()).waiting, key=lambda w: w.since)
    assert [w.session_id for w in waiting] == [cold_id(1), cold_id(2)]
    session = await store.get(cold_id(1))
    assert session is not None
    assert (session.queue_position, session.attempts) == (1, 0)


async def test_an_agent_that_was_on_its_way_serves_its_user(store: RedisStore, hosts: RedisHosts) -> None:
    await store.reserve_cold(start_request(), cold_id(1), "t", LIMITS)
    await store.begin_spawn(cold_id(1), 20, HOST)
    await hosts.drain(HOST)
    outcome = await store.record_agent(agent_record(cold_id(1), who=identity()))
    assert outcome.assignment is not None
    assert await store.retire_warm(HOST) == []
