"""Three machines on one network: what is started is spread, one may be cut off in a call, one may be drained."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from agent.conversation import RESUMED_LINE
from agent.voices.script import JOKES
from contract.states import SessionState
from tests.support.machines import Machines, heard_again, running_machines, view_of
from tests.support.session_call import another_agent, watching
from tests.support.stack import Backend, eventually, is_running

pytestmark = pytest.mark.timeout(480)
S = SessionState
HOSTS = 3
MANY = 12


@pytest.fixture(scope="module")
def machines() -> Iterator[Machines]:
    settings = {"ACK_TIMEOUT_S": "1.5", "HEARTBEAT_S": "0.5", "HOST_LEASE_S": "4", "HOST_LOST_S": "6"}
    with running_machines(HOSTS, PREWARM_POOL_SIZE="1", **settings) as machines:
        yield machines


@pytest.fixture
async def backend(machines: Machines) -> AsyncIterator[Backend]:
    async with machines.hub.container() as backend:
        yield backend
        live = await backend.store.page([S.STARTING, S.ASSIGNED, S.ACTIVE], 100, None)
        await backend.end(*(session.session_id for session in live.sessions))
        await backend.container.pool.resize(0)
        await backend.pool_has(0)
        assert await backend.rooms_left() == []


async def test_what_is_started_is_spread_over_the_hosts(machines: Machines, backend: Backend) -> None:
    await _filled(machines, backend, MANY)


async def _filled(machines: Machines, backend: Backend, size: int) -> None:
    """A pool of this size, which with the calls makes as many agents on each host, but for one fifth."""
    await backend.container.pool.resize(size)
    await backend.pool_has(size)
    spread = await machines.spread(backend)
    even = spread.total() / HOSTS
    assert all(abs(spread[host] - even) <= 0.2 * even for host in machines.hosts), spread


async def test_a_host_is_cut_off_in_a_call_and_comes_back(machines: Machines, backend: Backend) -> None:
    await backend.container.pool.resize(1)
    await backend.pool_has(1)
    async with machines.calling(backend) as call, watching(backend, call.session_id) as watch:
        assert await call.asks("tell me a joke") == JOKES[0]
        await _filled(machines, backend, 5)
        before = await call.session()
        assert before.agent is not None
        cut = before.host
        assert cut is not None
        agents = machines.agents(cut)
        waiting = [i for i in await backend.pool() if (await backend.session(i, S.READY)).host == cut]
        assert (len(agents), len(waiting)) == (2, 1)

        machines.cut(cut)
        after = await another_agent(backend, before)
        assert not is_running(before.agent.pid), "it ended itself before another one could take its place"
        assert (after.host != cut, after.replacements, after.state) == (True, 1, S.ACTIVE)
        lost = await backend.session(waiting[0], S.FAILED)
        assert (lost.error, lost.error_code) == (f"its host {cut} is lost", "host_lost")
        await call.hears(RESUMED_LINE)
        assert await call.asks("tell me another joke") == JOKES[1]
        assert machines.hosts[cut].host.process is not None
        assert machines.hosts[cut].host.process.poll() is None, "all the while it went on running"

        machines.mend(cut)
        await heard_again(backend, cut)
        for agent in agents:
            await backend.gone(agent.pid)
        await backend.room_gone(waiting[0])
        await _starts_agents(machines, backend, cut)
        await _filled(machines, backend, 5)
        assert await call.asks("tell me another joke") == JOKES[2]
        assert (await call.session()).agent == after.agent
        assert (len(watch.sids), watch.most_at_once) == (2, 1), "nobody came back, and nobody spoke with the other"
        assert call.lines.count(RESUMED_LINE) == 1


async def _starts_agents(machines: Machines, backend: Backend, host: str) -> None:
    """Wait until this host's worker takes work again."""

    async def look() -> bool:
        for size in (0, HOSTS):
            await backend.container.pool.resize(size)
            await backend.pool_has(size)
        return (await machines.spread(backend))[host] > 0

    await eventually(look, what=f"{host} starts agents again")
    await backend.container.pool.resize(0)
    await backend.pool_has(0)


async def test_a_host_that_is_cut_off_for_a_moment_keeps_its_call(machines: Machines, backend: Backend) -> None:
    await backend.container.pool.resize(1)
    await backend.pool_has(1)
    async with machines.calling(backend) as call, watching(backend, call.session_id) as watch:
        before = await call.session()
        assert before.host is not None

        machines.cut(before.host)
        await _is_silent(backend, before.host)
        machines.mend(before.host)

        await heard_again(backend, before.host)
        assert await call.asks("tell me a joke") == JOKES[0]
        after = await call.session()
        assert (after.agent, after.replacements) == (before.agent, 0)
        assert len(watch.sids) == 1


async def _is_silent(backend: Backend, host: str) -> None:
    async def suspected() -> bool:
        return (await view_of(backend, host)).suspect_at is not None

    await eventually(suspected, what=f"{host} is silent")


async def test_a_host_is_drained_in_a_call(machines: Machines, backend: Backend) -> None:
    await backend.container.pool.resize(2)
    await backend.pool_has(2)
    async with machines.calling(backend) as call:
        await _filled(machines, backend, 5)
        before = await call.session()
        drained = before.host
        assert drained is not None
        async with machines.client() as client:
            (await client.post(f"/api/hosts/{drained}/drain")).raise_for_status()

            async def only_the_call_is_left() -> bool:
                spread = await machines.spread(backend)
                return spread[drained] == 1 and len(await backend.pool()) == 5

            await eventually(only_the_call_is_left, what="the pool is full of other hosts' agents")
            assert await call.asks("tell me a joke") == JOKES[0]
            assert (await call.session()).agent == before.agent
            await backend.container.pool.resize(8)
            await backend.pool_has(8)
            assert (await machines.spread(backend))[drained] == 1, "nothing new is started there"

            (await client.delete(f"/api/session/{call.session_id}")).raise_for_status()
            ended = await backend.session(call.session_id, S.ENDED)
            assert ended.end_reason == "ended by the operator"
            await backend.room_gone(call.session_id)

            async def nothing_is_left() -> bool:
                return (await view_of(backend, drained)).drained and not machines.hosts[drained].agent_pids()

            await eventually(nothing_is_left, what="the host is drained")
            (await client.post(f"/api/hosts/{drained}/undrain")).raise_for_status()
    await _filled(machines, backend, MANY)
