"""The host daemon: one on each machine that runs agents. Its loops, its signals, its end."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import os
import signal
import time
from collections.abc import Coroutine
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path
from typing import IO, Any

import psutil
import structlog

from contract.keys import DEFAULT_KIND
from contract.prctl import become_subreaper
from contract.procfs import boot_id
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.bootstrap import Container
from orchestrator.domain.capacity import CapacityPolicy
from orchestrator.domain.errors import GreenroomError, HostIdTakenError, StoreUnavailableError
from orchestrator.host.agent import Agent
from orchestrator.host.agent_files import AgentFiles
from orchestrator.host.agent_user import AgentUser
from orchestrator.host.agents import Agents, AgentSettings
from orchestrator.host.commands import Commands
from orchestrator.host.deaths import Deaths
from orchestrator.host.drain import Drain
from orchestrator.host.entry import enter
from orchestrator.host.fence import Fence
from orchestrator.host.machine import Machine, processors
from orchestrator.host.measures import CallCounter
from orchestrator.host.outbox import Outbox
from orchestrator.host.peers import Strangers
from orchestrator.host.protection import Protection
from orchestrator.host.reconciliation import Reconciliation
from orchestrator.host.renewal import Renewal, ZygoteSource
from orchestrator.host.server import HostServer
from orchestrator.host.watch import Bounds, Watch
from orchestrator.host.zygotes import Zygotes, of_kinds
from orchestrator.logs import known_secrets
from orchestrator.records import Heard, HostReport

log = structlog.get_logger("greenroom.host")

HOUSEKEEPING_S = 10.0
SETTLE_S = 2.0
"""For what is under way when the daemon stops."""
SUPERSEDED = "another daemon with this HOST_ID has taken its host over"


class AlreadyRunningError(Exception):
    """Another host daemon uses this GREENROOM_HOME."""


class HostDaemon:
    """Everything of one host, put together; ``run`` is its life."""

    def __init__(self, container: Container) -> None:
        settings = container.settings
        self._settings = settings
        self._store = container.store
        self._hosts: RedisHosts = container.hosts
        self._pool = container.pool
        self._container = container
        self._stop = asyncio.Event()
        self._entered = asyncio.Event()
        """Set once the store has heard this daemon: what it says of the host is about this one's agents then."""
        self._serves = False
        self._superseded: HostIdTakenError | None = None
        self._tasks: set[asyncio.Task[object]] = set()
        self._boot_id = boot_id()
        self._started_at = time.time()
        self._machine = Machine(
            CapacityPolicy(
                settings.max_bots,
                settings.memory_reserve_mb * 2**20,
                agent_memory_bytes=settings.call_memory_mb * 2**20,
                processor_share=settings.processors_percent / 100,
            )
        )
        self._had_room = True
        user = AgentUser.find(settings.agent_user) if settings.agent_user else None
        gid = user.gid if user else None
        self._files = AgentFiles(settings.host_dir, log_max_bytes=settings.log_max_bytes, agent_gid=gid)
        self._instance = self._files.instance(self._boot_id)
        self._outbox = Outbox()
        source = ZygoteSource(settings, user, Path.cwd() / ".env")
        commands = source.commands()
        if user is not None:
            settings.greenroom_home.chmod(settings.greenroom_home.stat().st_mode | 0o011)  # to go through, not to list
            user.check([Path.cwd(), settings.host_dir], dict(next(iter(commands.values())).environment))
        # Forks are possible from then on: the pool need not wait for the clock.
        self._zygotes = Zygotes(commands, self._exited, on_ready=self._can_fork)
        self._loading: set[str] = set()
        self._renewal = Renewal(self._zygotes, source)
        counter = CallCounter(container.measures, settings.prices)
        self._deaths = Deaths(
            self._store,
            container.replacer,
            container.rooms,
            counter,
            self._outbox,
            self._background,
            on_change=self._refill_soon,
        )
        self._agents = Agents(
            AgentSettings(
                host_id=settings.host_id,
                boot_id=self._boot_id,
                livekit_url=settings.livekit_url,
                host_socket=str(settings.host_socket),
                limits=settings.agent_limits,
                kill_grace_s=settings.kill_grace_s,
                agent_token=self._agent_token,
            ),
            self._store,
            self._zygotes,
            self._files,
            self._outbox,
            self._background,
            capacity=self._machine.capacity,
            counter=counter,
            deaths=self._deaths,
        )
        self._watch = Watch(self._agents, self._bounds, frozen_s=settings.agent_limits.frozen_s)
        self._drain = Drain(
            settings.host_id,
            self._agents,
            self._store,
            self._hosts,
            timeout_s=settings.drain_timeout_s,
            on_undrained=self._refill_soon,
            kept=settings.host_dir / "draining",
        )
        self._commands = Commands(
            settings.host_id,
            self._hosts,
            self._agents,
            self._files,
            self._renewal,
            self._background,
            beat=self._beat,
            secrets=lambda: [*known_secrets(settings), *self._zygotes.secrets],
        )
        self._reconciliation = Reconciliation(
            settings.host_id,
            self._agents,
            self._store,
            self._deaths,
            every_s=settings.reconcile_s,
            assign_lease_s=settings.assign_lease_s,
        )
        self._fence = Fence(self._agents, container.rooms, after_s=settings.agent_limits.frozen_s)
        self._leaving = asyncio.Event()
        strangers = Strangers(self._agents.pids, user.uid if user else None)
        self._server = HostServer(settings.host_socket, self._agents, self._retire, strangers, gid)

    async def run(self) -> None:
        """Serve until told to stop.

        Raises:
            AlreadyRunningError: another daemon has this folder.
            HostIdTakenError: another daemon, with another folder, is this host.
        """
        lock = self._lock()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._told_to_stop)
        loop.add_signal_handler(signal.SIGCHLD, self._reap)
        become_subreaper()
        # What was imported stays for ever: a collection that looks at it again holds an assignment up for tens of ms.
        gc.collect()
        gc.freeze()
        try:
            heard = await enter(lambda: self._heartbeat(self._report()), self._stop)
            if heard is not None or not self._stop.is_set():
                await self._serve(heard)
        finally:
            await self._container.aclose()
            lock.close()
        if self._superseded is not None:
            raise self._superseded

    async def _serve(self, heard: Heard | None) -> None:
        """Serve until told to stop. ``heard``: what the first heartbeat was answered; None while the store is away."""
        self._serves = True
        await self._server.start()
        log.info("host started", host=self._settings.host_id, agents=self._agents.take_up())
        if heard is not None:
            await self._heed(heard)
        loops = [
            self._zygotes.run(), self._outbox.run(), self._heartbeats(), self._commands.listen(self._entered),
            self._reconciliation.run(self._entered), self._housekeeping(), self._watch.run(), self._leave(),
            self._fence.run(),
        ]  # fmt: skip
        if (task := self._container.ecs_task) is not None:
            loops.append(Protection(task, self._agents.have_calls).run())
        running = [asyncio.create_task(self._forever(each)) for each in loops]
        await self._stop.wait()
        await self._shut_down(running)

    # --- loops -----------------------------------------------------------------------------------------

    async def _heartbeats(self) -> None:
        while True:
            await self._beat()
            await asyncio.sleep(self._settings.heartbeat_s)

    async def _beat(self) -> None:
        if self._stop.is_set():  # what signed off must not take its lease again
            return
        try:
            report = self._report()
        except OSError:  # such as that no file descriptor is free: the next one may succeed
            log.exception("the machine was not measured; a heartbeat is left out")
            return
        try:
            heard = await self._heartbeat(report)
        except StoreUnavailableError:
            return
        except HostIdTakenError as error:
            self._superseded = error
            self._agents.retiring = True
            self._stop.set()
            return
        self._note_room(report)
        await self._heed(heard)

    async def _heartbeat(self, report: HostReport) -> Heard:
        asked_at = time.monotonic()
        heard = await self._hosts.heartbeat(report, self._settings.host_lease_s, drains=self._drain.is_ordered)
        self._fence.heard(asked_at)
        self._entered.set()
        return heard

    async def _heed(self, heard: Heard) -> None:
        if heard.was_lost:
            log.warning("this host was taken for lost; what was replaced meanwhile is ended")
        if heard.was_lost or heard.was_unknown:  # a refill takes places that the store does not know to be taken
            self._background(self._reconciliation.reconcile_agents())
        with suppress(StoreUnavailableError):
            await self._drain.look(heard.drain)

    def _note_room(self, report: HostReport) -> None:
        """Where there is room again, by memory or processors, or a kind was loaded, somebody may wait for it."""
        has_room = report.capacity > self._agents.count
        if has_room and (self._agents.refused_one or not self._had_room):
            self._agents.refused_one = False
            self._refill_soon()
        self._had_room = has_room
        loading = set(report.loading_kinds.split(","))
        if self._loading - loading:
            self._refill_soon()
        self._loading = loading

    async def _housekeeping(self) -> None:
        while True:
            try:
                self._agents.share_processors()
                await self._measure()
                await asyncio.to_thread(self._files.trim)
            except Exception:
                # Strangers' processes and files go into it. What was measured before holds until the next time.
                log.exception("agents were not measured, or their logs not trimmed")
            await asyncio.sleep(HOUSEKEEPING_S)

    async def _measure(self) -> None:
        agents = self._agents.all()
        everyone = {agent.process: agent.private_bytes for agent in agents}
        in_call = [agent.process for agent in agents if agent.phase == "active"]
        # In a thread: the kernel walks all of an agent's memory, and an assignment would have to wait for it.
        await asyncio.to_thread(self._machine.measure, everyone, in_call, time.monotonic())

    def _bounds(self, agent: Agent) -> Bounds:
        memory_mb = self._zygotes.memory_mb(agent.kind) or self._settings.agent_memory_mb
        return Bounds(memory_mb, self._settings.agent_processes)

    # --- the pool ----------------------------------------------------------------------------------------

    def _can_fork(self) -> None:
        self._refill_soon()
        if len(self._zygotes.kinds) > 1:  # nothing of this kind is begun until it is said
            self._background(self._beat())

    def _refill_soon(self) -> None:
        if not self._stop.is_set():
            self._background(self._refill())

    async def _refill(self) -> None:
        with suppress(GreenroomError):  # beat's refill is the backstop
            await self._pool.trigger()

    # --- the daemon itself -----------------------------------------------------------------------------

    def _report(self) -> HostReport:
        memory = psutil.virtual_memory()
        agents = self._agents.all()
        capacity = self._machine.capacity(self._agents.count)
        return HostReport(
            host=self._settings.host_id,
            boot_id=self._boot_id,
            started_at=self._started_at,
            agents=len(agents),
            warm=sum(agent.phase == "ready" for agent in agents),
            capacity=capacity.agents,
            capacity_limit=capacity.limit,
            capacity_reason=capacity.reason,
            memory_total_bytes=memory.total,
            memory_available_bytes=memory.available,
            agent_private_bytes=self._machine.agent_private_bytes,
            load1=round(os.getloadavg()[0], 2),
            cpus=os.cpu_count() or 1,
            processors=processors(),
            zygote=self._zygotes.status,
            version=version("greenroom"),
            drained=self._drain.is_done,
            generation=self._zygotes.generations.get(DEFAULT_KIND, ""),
            **of_kinds(self._zygotes),
            rollout=self._renewal.rollout,
            rollout_error=self._renewal.error,
            instance=self._instance,
        )

    def _agent_token(self, session_id: str) -> str:
        s = self._settings
        # LiveKit renews the token of a participant who stays; this is how long a reconnection may take.
        return self._container.tokens.agent(
            session_id, issued_at=time.time() - 10, ttl_s=s.warm_max_age_s + s.max_call_s + 600
        )

    def _told_to_stop(self) -> None:
        """A signal: stop; or, where the machine is being stopped, let the calls end first. The second one is obeyed."""
        drains = self._settings.drain_on_term and self._serves
        if drains and not self._agents.retiring and not self._leaving.is_set():
            self._leaving.set()
        else:
            self._stop.set()

    async def _leave(self) -> None:
        await self._leaving.wait()
        self._drain.leave()
        await self._beat()  # claims are to go elsewhere at once
        await self._drain.wait()
        self._stop.set()

    async def _forever(self, loop: Coroutine[Any, Any, None]) -> None:
        """Run one of the daemon's loops; should it ever break, say so and end: the supervisor starts it again."""
        try:
            await loop
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a loop of the host broke")
            self._stop.set()

    def _retire(self) -> None:
        self._agents.retiring = True

    def _reap(self) -> None:
        """Reap what the zygote, or a killed daemon's zygote, left to this subreaper."""
        with suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return
                self._exited(pid, os.waitstatus_to_exitcode(status))

    def _exited(self, pid: int, status: int) -> None:
        self._agents.exit_status(pid, status)

    def _background(self, coroutine: Coroutine[Any, Any, object]) -> asyncio.Task[object]:
        task: asyncio.Task[object] = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[object]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a background task failed", exc_info=error)

    async def _shut_down(self, running: list[asyncio.Task[None]]) -> None:
        """Hand out no more agents. They stay for the next daemon, unless this host or its machine is being ended.

        Where another daemon is this host by now, their calls go on with others: nobody would hear these agents.
        """
        superseded = self._superseded is not None
        final = self._agents.retiring or self._leaving.is_set()
        log.info("host stopping", final=final, agents=len(self._agents))
        with suppress(StoreUnavailableError):
            await self._hosts.sign_off(self._settings.host_id, self._instance)
        if superseded:
            self._agents.kill_all(SUPERSEDED)
        if final:
            await self._agents.end_all(SUPERSEDED if superseded else "the host is stopping")
        await _cancel(running)
        await self._settle()
        await self._outbox.flush()
        await self._settle()  # what was reported may be that a room is to be closed
        await self._server.stop()

    async def _settle(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_S):
                while self._tasks:  # one may leave another behind, such as a room to close
                    await asyncio.wait(set(self._tasks))

    def _lock(self) -> IO[str]:
        path = self._settings.host_dir / "lock"
        lock = path.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise AlreadyRunningError(f"another host daemon runs with GREENROOM_HOME={path.parent.parent}") from None
        return lock


async def _cancel(tasks: list[asyncio.Task[None]]) -> None:
    """End these tasks. The Redis driver now and then swallows a cancellation that comes with a reply: ask again."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=0.5)
