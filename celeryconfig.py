"""Celery's settings: for the workers, for beat, and for whoever sends a task."""

import ssl

from orchestrator.adapters import celery_queue as q
from orchestrator.redis_address import sentinels_of
from orchestrator.settings import current_settings

_settings = current_settings()
_sentinels = sentinels_of(_settings.redis_url)

broker_url = _sentinels.broker_url if _sentinels else _settings.redis_url
if _sentinels.tls if _sentinels else broker_url.startswith("rediss:"):
    # Celery would take any certificate, as its clients do not check one unless they are told to. Beat takes this, too:
    # an address of sentinels says to neither that the servers speak TLS.
    broker_use_ssl = {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True}
broker_connection_retry_on_startup = True
broker_connection_max_retries = None  # Redis may be away for as long as it likes
result_backend = None  # outcomes are in the sessions themselves
task_ignore_result = True

# A task is acknowledged when it is done, so that a worker's death gives it to another one. All tasks are idempotent.
task_acks_late = True
task_reject_on_worker_lost = True
worker_prefetch_multiplier = 1
worker_concurrency = _settings.spawn_concurrency  # so many forks of one machine at once, whoever asked for them
worker_cancel_long_running_tasks_on_connection_loss = False
worker_enable_remote_control = False
worker_send_task_events = False

# Every task is time-limited; the visibility timeout is above the longest one and its longest wait, and the same in
# every program that shares the broker, or Redis hands a running task out again.
task_soft_time_limit = 60
task_time_limit = 65
broker_transport_options = {
    "visibility_timeout": 300,
    "unacked_restore_interval": 10,
    "queue_order_strategy": "priority",  # the order of task_queues: what a user waits for comes first
    "socket_timeout": 10,
    "socket_connect_timeout": 2,
    "socket_keepalive": True,
    "health_check_interval": 25,
    "retry_on_timeout": False,
} | (_sentinels.broker_options if _sentinels else {})

task_default_queue = q.MAINTENANCE_QUEUE
# The nameless exchange delivers to the queue that the routing key names. A named one keeps its bindings in Redis: when
# that comes back empty, what a producer sends would go nowhere until everything is declared anew.
task_default_exchange = ""
# A worker is started without -Q, and consumes these.
task_queues = q.consumed(_settings.kinds.served, _settings.host_id)
task_create_missing_queues = True
worker_hijack_root_logger = False

# Of any number of beats one leads: it holds a lock in Redis, which it renews at each tick. Where it dies, another one
# looks for the lock every `beat_max_loop_interval` and leads within these two times. A beat that cannot renew its lock
# ends, and is started again: it waits for Redis for longer than the supervisor takes for a failed start, and no longer.
beat_scheduler = "redbeat.RedBeatScheduler"
beat_max_loop_interval = 2
redbeat_redis_url = "redis-sentinel://" if _sentinels else _settings.redis_url
redbeat_lock_timeout = 10
redbeat_redis_options = {
    "retry_period": 8,
    "socket_timeout": 3,
    "socket_connect_timeout": 2,
} | (_sentinels.beat_options if _sentinels else {})

# A worker that was away wakes to few of each: what is late does no harm, and takes milliseconds.
beat_schedule = {
    "refill": {
        "task": q.REFILL_TASK,
        "schedule": 30.0,
        "options": {"queue": q.POOL_QUEUE, "expires": q.EXPIRES_S},
    },
    "replace-lost": {
        "task": q.REPLACE_LOST_TASK,
        "schedule": q.REPLACE_LOST_EVERY_S,
        # Before refills: users whose call was cut off wait for it.
        "options": {"queue": q.URGENT_QUEUE, "expires": q.EXPIRES_S},
    },
    "roll-out": {
        "task": q.ROLL_OUT_TASK,
        "schedule": q.ROLL_OUT_EVERY_S,
        "options": {"queue": q.MAINTENANCE_QUEUE, "expires": q.EXPIRES_S},
    },
    "check": {
        "task": q.CHECK_HOSTS_TASK,
        "schedule": 60.0,
        "options": {"queue": q.MAINTENANCE_QUEUE, "expires": q.EXPIRES_S},
    },
    "reap": {
        "task": q.REAP_TASK,
        "schedule": 300.0,
        "options": {"queue": q.MAINTENANCE_QUEUE, "expires": q.EXPIRES_S},
    },
}
