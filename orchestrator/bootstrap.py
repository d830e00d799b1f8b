"""The one place that builds everything: settings in, objects out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from orchestrator.adapters.local_host import UnixHost
from orchestrator.adapters.redis_breakers import RedisBreakers
from orchestrator.adapters.redis_changes import RedisChanges
from orchestrator.adapters.redis_client import Client, connect
from orchestrator.adapters.redis_hosts import RedisHosts
from orchestrator.adapters.redis_lookup import RedisLookup
from orchestrator.adapters.redis_measures import RedisMeasures
from orchestrator.adapters.redis_rollout import RedisRollouts
from orchestrator.adapters.redis_statistics import RedisStatistics
from orchestrator.adapters.redis_store import RedisStore
from orchestrator.adapters.redis_webhooks import RedisWebhooks
from orchestrator.domain.breaker import BreakerPolicy
from orchestrator.domain.demand import DemandPolicy
from orchestrator.domain.hosts import LossPolicy
from orchestrator.domain.pool import YIELD_S
from orchestrator.ports import TaskQueue
from orchestrator.records import Limits, ReplaceRule
from orchestrator.services.breaker import SpawnBreaker
from orchestrator.services.drain import DrainHost
from orchestrator.services.health import Health
from orchestrator.services.overview import Overview
from orchestrator.services.pool import KeepPool, ReapAges
from orchestrator.services.replace import ReplaceAgents
from orchestrator.services.rollout import RollOut
from orchestrator.services.sessions import Sessions
from orchestrator.services.spawn import SpawnAgent
from orchestrator.services.start import StartSession
from orchestrator.services.waits import Waits
from orchestrator.settings import Settings

if TYPE_CHECKING:
    from orchestrator.adapters.ecs_task import EcsTask
    from orchestrator.adapters.livekit_rooms import LiveKitKey, LiveKitRooms, LiveKitTokens, LiveKitWebhooks
    from orchestrator.adapters.queue_lag import RedisQueues

SPAWN_DEADLINE_MARGIN_S = 10.0
"""Above a try's own time-out: the queue's wait, the room, the record."""
ROOM_MARGIN_S = 3600.0


@dataclass(frozen=True)
class Container:
    """What the programs of the orchestrator are made of, built when first asked for."""

    settings: Settings
    client: Client
    queue: TaskQueue

    @cached_property
    def store(self) -> RedisStore:
        """Sessions, the pool, counters."""
        return RedisStore(self.client, record_s=self.settings.session_record_s)

    @cached_property
    def hosts(self) -> RedisHosts:
        """Hosts through Redis."""
        return RedisHosts(self.client)

    @cached_property
    def breakers(self) -> RedisBreakers:
        """Whether spawns are tried."""
        return RedisBreakers(self.client)

    @cached_property
    def lookup(self) -> RedisLookup:
        """What an operator looks for."""
        return RedisLookup(self.client)

    @cached_property
    def statistics(self) -> RedisStatistics:
        """What was measured."""
        return RedisStatistics(self.client)

    @cached_property
    def measures(self) -> RedisMeasures:
        """What was measured of calls."""
        return RedisMeasures(self.client)

    @cached_property
    def queues(self) -> RedisQueues:
        """The workers' queues, as they are in Redis."""
        from orchestrator.adapters.queue_lag import RedisQueues

        return RedisQueues(self.client, list(self.settings.kinds.by_name))

    @cached_property
    def changes(self) -> RedisChanges:
        """Where one hears that sessions changed."""
        return RedisChanges(self.client)

    @cached_property
    def events(self) -> RedisWebhooks:
        """Which webhooks were acted on."""
        return RedisWebhooks(self.client)

    @cached_property
    def local_host(self) -> UnixHost:
        """The host daemon of this machine."""
        return UnixHost(self.settings.host_socket)

    @cached_property
    def ecs_task(self) -> EcsTask | None:
        """The ECS task around this program; None anywhere else."""
        if self.settings.ecs_agent_uri is None:
            return None
        from orchestrator.adapters.ecs_task import EcsTask

        return EcsTask(self.settings.ecs_agent_uri)

    @cached_property
    def livekit_key(self) -> LiveKitKey:
        """Where LiveKit is."""
        from orchestrator.adapters.livekit_rooms import LiveKitKey

        s = self.settings
        return LiveKitKey(s.livekit_url, s.livekit_api_key, s.livekit_api_secret.get_secret_value())

    @cached_property
    def rooms(self) -> LiveKitRooms:
        """LiveKit's rooms."""
        from orchestrator.adapters.livekit_rooms import LiveKitRooms

        s = self.settings
        return LiveKitRooms(
            self.livekit_key,
            # Old agents go half a pool at a time, every five minutes: the last ones wait much longer than the first.
            empty_timeout_s=2 * s.warm_max_age_s + ROOM_MARGIN_S,
            departure_timeout_s=s.reconnect_grace_s + ROOM_MARGIN_S,
        )

    @cached_property
    def tokens(self) -> LiveKitTokens:
        """Room tokens."""
        from orchestrator.adapters.livekit_rooms import LiveKitTokens

        return LiveKitTokens(self.livekit_key)

    @cached_property
    def webhooks(self) -> LiveKitWebhooks:
        """LiveKit's signed webhooks."""
        from orchestrator.adapters.livekit_rooms import LiveKitWebhooks

        return LiveKitWebhooks(self.livekit_key)

    @cached_property
    def limits(self) -> Limits:
        """What reservations are checked against."""
        s = self.settings
        deadline_s = s.spawn_timeout_s + SPAWN_DEADLINE_MARGIN_S
        return Limits(s.max_bots, s.max_queue, s.spawn_concurrency, deadline_s, s.kinds.most_of)

    @cached_property
    def demand(self) -> DemandPolicy:
        """How far arrivals raise the pool's target."""
        return DemandPolicy(self.settings.most_by_demand, self.settings.pool_scale_down_s, YIELD_S)

    @cached_property
    def pool(self) -> KeepPool:
        """Refill, resize, reap."""
        s = self.settings
        ages = ReapAges(s.assign_lease_s, s.inactive_timeout_s, s.warm_max_age_s, s.session_record_s)
        return KeepPool(
            self.store,
            self.hosts,
            self.queue,
            self.limits,
            ages,
            default_target=s.kinds.default_floor,
            more=s.kinds.floors,
            demand=self.demand,
        )

    @cached_property
    def replacer(self) -> ReplaceAgents:
        """Replace agents that died in a call."""
        s = self.settings
        return ReplaceAgents(
            self.store,
            self.hosts,
            self.queue,
            self.pool,
            rule=ReplaceRule(s.max_replacements),
            loss=LossPolicy(s.host_lost_s),
            spawn_deadline_s=self.limits.spawn_deadline_s,
        )

    @cached_property
    def waits(self) -> Waits:
        """How long one who waits will wait."""
        return Waits(self.store, self.limits, time.monotonic, more=self.settings.kinds.floors)

    @cached_property
    def start(self) -> StartSession:
        """Start a session."""
        s = self.settings
        return StartSession(
            self.store,
            self.hosts,
            self.queue,
            self.limits,
            ack_timeout_s=s.ack_timeout_s,
            claim_tries=s.claim_tries,
            heard_within_s=2 * s.heartbeat_s,
            waits=self.waits,
        )

    @cached_property
    def sessions(self) -> Sessions:
        """One session after its start."""
        return Sessions(self.store, self.hosts, self.pool, self.rooms)

    @cached_property
    def health(self) -> Health:
        """Whether every part is up."""
        return Health(
            self.store,
            self.hosts,
            self.rooms,
            self.breakers,
            default_target=self.settings.kinds.default_floor,
            more=self.settings.kinds.floors,
            clock=time.monotonic,
        )

    @cached_property
    def drain(self) -> DrainHost:
        """Take hosts out, and put them back."""
        return DrainHost(self.hosts, self.store, self.queue)

    @cached_property
    def rollout(self) -> RollOut:
        """Recycle the agents that wait, for changed code or settings."""
        s = self.settings
        rollouts = RedisRollouts(self.client, record_s=s.session_record_s)
        return RollOut(
            rollouts, self.hosts, self.store, self.pool, default_target=s.kinds.default_floor, more=s.kinds.floors
        )

    @cached_property
    def overview(self) -> Overview:
        """What an operator sees at a glance."""
        return Overview(self.health, self.lookup, self.statistics)

    @cached_property
    def breaker(self) -> SpawnBreaker:
        """Stops a storm of spawns that fail."""
        s = self.settings
        base_s = min(BreakerPolicy.base_s, s.spawn_breaker_max_open_s)
        policy = BreakerPolicy(s.spawn_breaker_failures, base_s, s.spawn_breaker_max_open_s)
        return SpawnBreaker(self.breakers, self.queue, policy)

    @cached_property
    def spawner(self) -> SpawnAgent:
        """Have agents started on this machine."""
        return SpawnAgent(
            self.store,
            self.rooms,
            self.local_host,
            self.pool,
            self.queue,
            self.breaker,
            host_id=self.settings.host_id,
            timeout_s=self.settings.spawn_timeout_s,
            deadline_s=self.limits.spawn_deadline_s,
        )

    async def aclose(self) -> None:
        """Close what was opened."""
        if "changes" in self.__dict__:
            await self.changes.aclose()
        if "health" in self.__dict__:
            await self.health.aclose()
        if task := self.__dict__.get("ecs_task"):
            await task.aclose()
        if "rooms" in self.__dict__:
            await self.rooms.aclose()
        await self.client.aclose()


def build(settings: Settings, queue: TaskQueue | None = None) -> Container:
    """Everything, for these settings."""
    return Container(settings, connect(settings.redis_url), queue or celery_queue())


def celery_queue() -> TaskQueue:
    """The task queue, for a program that only sends tasks."""
    from celery import Celery

    from orchestrator.adapters.celery_queue import CeleryQueue

    app = Celery("greenroom", set_as_current=False)
    app.config_from_object("celeryconfig")
    # Imported here and not by the first request that sends a task.
    app.amqp.queues  # noqa: B018
    app.connection_for_write().transport  # noqa: B018
    return CeleryQueue(app)
