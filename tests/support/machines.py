"""Machines on one network: Redis, LiveKit, the API and beat on the hub, a host and a worker on each of the others."""

from __future__ import annotations

import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import httpx
import psutil

from agent.voices.script import GREETING
from contract.states import SessionState
from orchestrator.adapters.livekit_client import Caller
from orchestrator.cli.redis_server import client_of
from orchestrator.records import HostView
from tests.support.netns import Network, network
from tests.support.servers import free_port, wait_until
from tests.support.session_call import SessionCall
from tests.support.stack import ADMIN_TOKEN, Backend, Stack, eventually

START_S = 240.0
"""So many programs start at once that a machine of two cores takes half a minute; busy with other things, longer."""


@dataclass
class Machines:
    """The hub, and the hosts by their ids."""

    network: Network
    hub: Stack
    port: int
    hosts: dict[str, Stack] = field(default_factory=dict)

    def cut(self, host: str) -> None:
        """Cut this machine off. All that runs there goes on running."""
        self.network.cut(self.hosts[host].place)

    def mend(self, host: str) -> None:
        """Plug it in again."""
        self.network.mend(self.hosts[host].place)

    def start(self) -> None:
        """Start everything; returns when each host can fork and the API is ready."""
        place = self.hub.place
        api = ["uvicorn", "--factory", "orchestrator.api.app:create_app", "--host", place.address]
        self.hub.start(
            "api", *api, "--port", str(self.port), "--no-access-log", BIND=place.address, PORT=str(self.port)
        )
        self.hub.start_beat()
        for number, machine in enumerate(self.network.machines):
            self.hosts[f"host-{number}"] = stack = self.hub.beside(f"host-{number}", machine)
            stack.start("host", "orchestrator.host")
            stack.start_worker()
        for stack in self.hosts.values():
            stack.wait_zygote("ready", timeout_s=START_S)
        wait_until(self._workers_wait, timeout_s=START_S, what="each worker takes work", every_s=0.1)
        wait_until(self._answers, timeout_s=START_S, what="the API answers", every_s=0.1)
        wait_until(self._beat_leads, timeout_s=START_S, what="beat leads", every_s=0.1)

    def stop(self) -> None:
        """End everything; fails when something is left, on whichever machine."""
        with contextlib.ExitStack() as stopping:
            stopping.callback(self.hub.stop)  # the last one
            for stack in self.hosts.values():
                self.network.mend(stack.place)
                stopping.callback(stack.stop)
                if "worker" in stack.parts:
                    stack.worker.send(signal.SIGTERM)  # all of them at once

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health/live", timeout=1).is_success
        return False

    def _beat_leads(self) -> bool:
        with client_of(self.hub.redis.url, decode_responses=True) as client:
            return bool(client.exists("redbeat::lock"))

    def _workers_wait(self) -> bool:
        with client_of(self.hub.redis.url, decode_responses=True) as client:
            waiting = [str(each["addr"]) for each in client.client_list() if each["cmd"] == "brpop"]
        addresses = {address.rpartition(":")[0] for address in waiting}
        return addresses >= {stack.place.address for stack in self.hosts.values()}

    # --- using them --------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The API's address."""
        return f"http://{self.hub.place.address}:{self.port}"

    def client(self) -> httpx.AsyncClient:
        """A client of the API, with the operator's rights."""
        headers = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=10)

    @contextlib.asynccontextmanager
    async def calling(self, backend: Backend, user: str = "ann") -> AsyncIterator[SessionCall]:
        """Start a session through the API, join its room, hear the greeting."""
        async with self.client() as client:
            answer = await client.post("/api/session/start", json={"userId": user, "userName": user.title()})
        started = answer.raise_for_status().json()
        async with Caller() as caller:
            await caller.join(started["join"]["url"], started["join"]["token"])
            call = SessionCall(backend, started["sessionId"], caller)
            await call.hears(GREETING)
            yield call

    async def spread(self, backend: Backend) -> Counter[str]:
        """How many live sessions each host has."""
        living = (SessionState.READY, SessionState.ASSIGNED, SessionState.ACTIVE)
        page = await backend.store.page(list(living), 100, None)
        return Counter(session.host or "" for session in page.sessions)

    def agents(self, host: str) -> list[psutil.Process]:
        """The agents that run on a machine."""
        return [psutil.Process(pid) for pid in self.hosts[host].agent_pids()]


async def view_of(backend: Backend, host: str) -> HostView:
    """What is known of a host."""
    return {view.host: view for view in await backend.container.hosts.hosts()}[host]


async def heard_again(backend: Backend, host: str) -> None:
    """Wait until this host is heard, and not lost any more."""

    async def alive() -> bool:
        view = await view_of(backend, host)
        return view.alive and "lostAt" not in view.fields

    await eventually(alive, what=f"{host} is heard again")


@contextlib.contextmanager
def running_machines(count: int, **settings: str) -> Iterator[Machines]:
    """So many machines and a hub, that all run; afterwards nothing is left."""
    with network(count) as plan:
        hub = Stack.create(place=plan.hub, **settings)
        machines = Machines(plan, hub, free_port())
        try:
            machines.start()
            yield machines
        finally:
            machines.stop()
