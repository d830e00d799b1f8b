"""Every Redis key: its type, how long it lives, who writes it and who reads it. Operators look with redis-cli.

Scores and times are Unix seconds by Redis's own clock (``TIME``), so that machines' clocks need not agree.

======================  ======  =========  ==========================  =====================================
key                     type    lives      written by                  read by
======================  ======  =========  ==========================  =====================================
session:<id>            hash    a day      API, worker, host (Lua)     all
                                past end   (fields: ``SESSION_FIELDS``)
turns:<id>              list    1 h past   host                        a successor of a crashed agent, API
                                last turn
measured:<id>           hash    1 h past   Lua: note_measured          the same: the newest report that was counted, by
                                last                                   agent ("host boot pid ticks")
sessions:<state>        zset    for ever   Lua, with the state         API (lists, counts), reaper
                                           score: since when; for ``active``: last activity
pool:ready              set     for ever   Lua: record_agent, claim,   claim
pool:warming            set     for ever   Lua: reserve_warm, finish   plan: warm spawns under way
pool:spawning           zset    for ever   Lua: reserve, begin_spawn,  plan; score: the try's deadline
                                           replace, lose_host
pool:waiting            zset    for ever   Lua: reserve_cold, dispatch plan, queue place; score: since when
pool:target             string  for ever   resize: the pool's floor    plan, GET /api/pool
pool:arrivals           hash    for ever   Lua: claim, reserve_cold    plan, GET /api/pool: starts by slot of 10 s,
                                                                       the newest 7
pool:demand             hash    for ever   refill                      plan, GET /api/pool: the highest demand by slot,
                                                                       for POOL_SCALE_DOWN_S
pool:aim                string  for ever   refill; resize deletes it   sample: the target that it goes by
pool:agents             set     for ever   Lua: reservations,          reservations, plan: agents of the kind that are,
                                           dispatch, record_agent,     or are on their way, where a kind has a most
                                           finish
pool:ready:<kind>       set     for ever   as pool:ready               as pool:ready, of another kind than ``default``
pool:warming:<kind>     set     for ever   as pool:warming             the same
pool:target:<kind>      string  for ever   as pool:target              the same
pool:arrivals:<kind>    hash    for ever   as pool:arrivals            the same
pool:demand:<kind>      hash    for ever   as pool:demand              the same
pool:aim:<kind>         string  for ever   as pool:aim                 the same
pool:agents:<kind>      set     for ever   as pool:agents              the same
pool:refill-pending     string  1 s        claim, host                 whoever would queue another refill
hosts                   set     for ever   host; replace_lost takes    API, check_hosts, whatever asks for room (Lua)
                                           out whose record is gone
host:<id>               hash    1 h past   host, each heartbeat;       claim (lease), API, replace_lost
                                a beat; a  API: drain; Lua:            begin_spawn
                                week while suspect_host, lose_host,
                                it drains; give_back (capacity),
                                10 min     begin_spawn, sign_off,
                                past stop  forget_hosts
                                           (fields: ``HOST_FIELDS``, and those of ``records.HostReport``)
host:<id>:sessions      set     for ever   Lua: record_agent, finish,  the host's reconciliation, lose_host,
                                           replace                     begin_spawn
host:<id>:commands      stream  5 min      claim, finish, API,         that host: what is some ms old at most; the
                                past last  rollout                     ~1000 of the last 5 min are kept
rollout                 hash    a day      Lua: rollout_*              rollout, API (fields: ``ROLLOUT_FIELDS``)
breaker:<kind>          hash    for ever   spawn, after each try that  reservations and begin_spawn (Lua), plan,
                                           changed it; Lua: the try    health, metrics
                                           (fields: ``BREAKER_FIELDS``)
limit:<name>:<digest>   zset    a window   claim                       claim: requests that count, and when
user:<owner>:sessions   set     a week     claim, reserve_cold,        claim, reserve_cold: how many live sessions
                                           finish (Lua)                a user has, where that is limited
reply:<request id>      list    10 s       host                        the API request that waits on it
idem:<digest>           hash    a day, or  claim, reserve_cold, evict  claim, reserve_cold
                                a minute for a request without a key of its own
webhooks                zset    400 s      API: ids of LiveKit's       API: one that comes again does nothing
                                past last  events, score: acted on at
lock:<name>             string  seconds    maintenance tasks           maintenance tasks
redbeat:*               hash,   for ever   beat (celery-redbeat)       beat: its schedule, and the lock of the one
                        zset,                                          that leads
                        string
stats:fence             string  for ever   Lua: claim, record_agent,   the same
                                           replace, lose_host
stats:totalSpawned      string  for ever   Lua: record_agent           health, metrics
stats:totalAssigned     string  for ever   Lua: claim, record_agent    health, metrics
stats:deadClaims        string  for ever   Lua: evict                  metrics
stats:lastRefillAt      string  for ever   refill                      readiness, metrics
stats:spawnRecent       list    newest     Lua: record_agent (s)       estimated wait
                                100
stats:callRecent        list    newest     Lua: finish: how long a     estimated wait
                                100        call took, from its claim
stats:spawnSeconds      hash    for ever   Lua: record_agent           metrics
stats:spawnFailures     hash    for ever   spawn, by reason's code     metrics
stats:replacements      hash    for ever   Lua: replace, lose_host,    metrics
                                           by reason's code
stats:voice             hash    for ever   Lua: note_measured, settle  metrics; fields: "name|kind|provider" of a
                                                                       counter, and with "|bound", "|sum" or "|count"
                                                                       of a histogram
stats:starts            hash    for ever   API: ``warm``, ``cold``     sample: the share of warm starts
stats:startRecent       list    newest     API: "at ms" of each start  sample
                                500
stats:vacancies         list    newest     Lua: claim (at), until a    Lua: record_agent
                                500        warm agent takes its place
stats:vacancies:<kind>  list    newest     as stats:vacancies          the same, of another kind than ``default``
                                500
stats:refillRecent      list    newest     Lua: record_agent, "at ms"  sample
                                100        from a claim until then
stats:samples           list    newest     Lua: sample, every 5 s, as  GET /api/pool/history, GET /api/events
                                720        JSON, the newest last
stats:sampled           hash    for ever   Lua: sample                 sample: the one before
======================  ======  =========  ==========================  =====================================

On the channel ``session-changed`` every script publishes the id of each session that it changed. Nobody may depend on
hearing all of them: who listens looks by itself from time to time, too. A channel belongs to all of a Redis's numbered
databases; ids of another one's sessions do no harm.
"""

from contract.states import SessionState

POOL_READY = "pool:ready"
POOL_WARMING = "pool:warming"
POOL_SPAWNING = "pool:spawning"
POOL_WAITING = "pool:waiting"
POOL_TARGET = "pool:target"
POOL_ARRIVALS = "pool:arrivals"
POOL_DEMAND = "pool:demand"
POOL_AIM = "pool:aim"
POOL_AGENTS = "pool:agents"
REFILL_PENDING = "pool:refill-pending"
HOSTS = "hosts"
ROLLOUT = "rollout"
WEBHOOKS = "webhooks"
STATS_FENCE = "stats:fence"
STATS_SPAWNED = "stats:totalSpawned"
STATS_ASSIGNED = "stats:totalAssigned"
STATS_DEAD_CLAIMS = "stats:deadClaims"
STATS_LAST_REFILL = "stats:lastRefillAt"
STATS_SPAWN_RECENT = "stats:spawnRecent"
STATS_CALL_RECENT = "stats:callRecent"
STATS_SPAWN_SECONDS = "stats:spawnSeconds"
STATS_SPAWN_FAILURES = "stats:spawnFailures"
STATS_REPLACEMENTS = "stats:replacements"
STATS_VOICE = "stats:voice"
STATS_STARTS = "stats:starts"
STATS_START_RECENT = "stats:startRecent"
STATS_VACANCIES = "stats:vacancies"
STATS_REFILL_RECENT = "stats:refillRecent"
STATS_SAMPLES = "stats:samples"
STATS_SAMPLED = "stats:sampled"

SESSION_CHANGED = "session-changed"
"""A channel, not a key."""

SESSION_FIELDS = {
    "status": "a SessionState",
    "userId": "who it belongs to; absent while nobody's",
    "userName": "as given at the start",
    "agentPid": "the agent's PID on its host",
    "agentTicks": "the process's start time in clock ticks since boot; with the PID it names one process",
    "bootId": "the boot of the host's machine",
    "host": "the host's id",
    "createdAt": "reserved at",
    "readyAt": "the agent's room accepted it at",
    "startupTime": "seconds from the fork request until in the room",
    "assignedAt": "claimed at",
    "activeAt": "the user was first in the room at",
    "userLeftAt": "the user's connection was lost at; absent while connected",
    "endedAt": "ended or failed at",
    "endReason": "why, in words",
    "error": "why it failed, in words",
    "errorCode": "why it failed, as a stable code",
    "prewarmed": "1 when it waited in the pool",
    "fence": "the claim's fencing number; greater after each replacement",
    "assignment": "the claim's settings as JSON",
    "attempts": "spawn tries begun, for the agent that it has or lacks",
    "spawnTask": "the task that is at these tries",
    "spawnHost": "the host of the last try",
    "kind": "the kind of its agent; absent for default",
    "passed": "how often a host left its spawn to another one, for the agent that it has or lacks",
    "replacements": "agents that died in this call and were replaced; absent for none",
    "replaced": "those agents, each as host, boot, PID and ticks, separated by commas",
    "replacedAt": "the last replacement was begun at",
    "lastSeenAt": "the caller last asked about it at, while it waits",
    "taskId": "the Celery task of the spawn",
    "owner": "digest of who called for whom; absent where a user may have any number of sessions",
    "generation": "which zygote of its host forked the agent",
    "tokenAt": "a token was last made at",
    "costUsd": "what its providers have charged so far, by PRICES, in US dollars",
    "settled": "1 when its length and its cost were counted, which is after its end",
    "timeline": "when what happened on the user's page, in ms after the click, as JSON; the first that was posted",
}

HOST_FIELDS = {
    "leaseUntil": "until when its waiting agents are handed out",
    "heartbeatAt": "it last reported at; where its record had been gone, at the latest",
    "draining": "1 while it is out of claims and starts nothing",
    "drainingSince": "since when",
    "drainingBy": "operator, or stop: then its next daemon takes it back",
    "spawnFailedAt": "a try of a spawn there was last found to have failed",
    "suspectAt": "silent since it was first looked at; absent once it is heard",
    "lostAt": "declared lost at; absent once it is heard",
}

BREAKER_FIELDS = {
    "failures": "spawns that failed in a row, while it is closed",
    "opened": "how often it opened in a row; 0 while it is closed",
    "since": "the first of these at",
    "openUntil": "nothing is begun before",
    "code": "of the failure that opened it",
    "reason": "the same, in words",
    "tryId": "the session whose spawn is the one try, half-open",
    "tryUntil": "another one may be tried after",
    "version": "grows with each change: a change that was decided on an older state is not made",
}

ROLLOUT_FIELDS = {
    "id": "which one",
    "state": "running, done or failed",
    "detail": "what it waits for, or how it ended, in words",
    "recycled": "agents that waited and were ended for it",
    "startedAt": "begun at",
    "movedAt": "something last changed at",
    "seen": "what was seen then",
    "endedAt": "done or failed at",
}

HOST_ID_PATTERN = r"^[A-Za-z0-9._-]{1,64}$"
"""It is part of keys, of a queue's name and of addresses."""

DEFAULT_KIND = "default"
"""The kind of agent that there always is; its keys have no kind in their names."""
KIND_PATTERN = r"^[a-z][a-z0-9-]{0,31}$"
"""A kind's name is part of keys and of queues' names."""


def of_kind(key: str, kind: str) -> str:
    """The key of one kind of agent that stands for ``key``, which is the default kind's."""
    return key if kind == DEFAULT_KIND else f"{key}:{kind}"


def session(session_id: str) -> str:
    """The hash of one session."""
    return f"session:{session_id}"


def turns(session_id: str) -> str:
    """The finished turns of one session, oldest first, each as JSON."""
    return f"turns:{session_id}"


def measured(session_id: str) -> str:
    """Which reports of its agents were counted."""
    return f"measured:{session_id}"


def sessions_in(state: SessionState) -> str:
    """The ids of the sessions in one state."""
    return f"sessions:{state}"


def host(host_id: str) -> str:
    """What one host says of itself."""
    return f"host:{host_id}"


def host_sessions(host_id: str) -> str:
    """The live sessions whose agents one host owns."""
    return f"host:{host_id}:sessions"


def host_commands(host_id: str) -> str:
    """The stream by which one host is told things."""
    return f"host:{host_id}:commands"


def reply(request_id: str) -> str:
    """Where a host answers one command."""
    return f"reply:{request_id}"


def idempotency(digest: str) -> str:
    """What one start request was answered."""
    return f"idem:{digest}"


def breaker(kind: str) -> str:
    """Whether spawns of one kind of agent are tried."""
    return f"breaker:{kind}"


def limit(name: str, digest: str) -> str:
    """What counts against one rate: ``name`` is the policy's, the digest says whose."""
    return f"limit:{name}:{digest}"


def owned(owner: str) -> str:
    """The live sessions of one user."""
    return f"user:{owner}:sessions"


def lock(name: str) -> str:
    """One maintenance job's lock."""
    return f"lock:{name}"


OWNED_S = 604_800
"""A week: no setting lets a session last longer."""

COMMANDS_S = 300
"""A host does what it is told within a second, or never: claims are not waited for longer, and the rest it finds out by
itself. What is older may hold users' prompts, and be for a host that is gone."""

DEMAND_SLOT_S = 10
"""The length of a slot of time in ``pool:arrivals`` and ``pool:demand``."""
ARRIVAL_SLOTS = 7
"""The rate is measured over a minute, and the slot that is not over."""

SHARED = (
    POOL_READY, POOL_WARMING, POOL_SPAWNING, POOL_WAITING,
    *(sessions_in(state) for state in SessionState),
    STATS_FENCE, STATS_SPAWNED, STATS_ASSIGNED, STATS_DEAD_CLAIMS,
    STATS_SPAWN_RECENT, STATS_SPAWN_SECONDS, REFILL_PENDING,
)  # fmt: skip
"""The keys that every Lua script is given first, in this order (see ``lua/_prelude.lua``)."""
