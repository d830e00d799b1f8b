-- Put before every script. KEYS[1..17] are contract.keys.SHARED, in that order; a script's own keys follow.
-- ALLOWED is written above this line from orchestrator.domain.session.TRANSITIONS: "from>to" = true; so is CHANGED,
-- contract.keys.SESSION_CHANGED, OWNED_S, COMMANDS_S, DEMAND_SLOT_S, ARRIVAL_SLOTS, STATS_CALL_RECENT, DEFAULT_KIND
-- and POOL_AGENTS.
--
-- A session's own key is built here where its id is known only inside the script (whom a claim takes, whom a
-- retirement ends), and so are the keys of its kind of agent, from those of the default kind, which the script is given. So
-- one Redis primary holds everything; Redis Cluster is not supported.
local POOL_READY, POOL_WARMING, POOL_SPAWNING, POOL_WAITING = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local BY_STATE = {starting = KEYS[5], ready = KEYS[6], assigned = KEYS[7], active = KEYS[8], ended = KEYS[9], failed = KEYS[10]}
local STATS_FENCE, STATS_SPAWNED, STATS_ASSIGNED, STATS_DEAD_CLAIMS = KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local STATS_SPAWN_RECENT, STATS_SPAWN_SECONDS, REFILL_PENDING = KEYS[15], KEYS[16], KEYS[17]
local OWN = 17

local TIME = redis.call('TIME')
local NOW = TIME[1] + TIME[2] / 1000000
local NOW_TEXT = string.format('%.6f', NOW)

local function session_key(id) return 'session:' .. id end
local function host_key(host) return 'host:' .. host end
local function commands_key(host) return 'host:' .. host .. ':commands' end
local function host_sessions_key(host) return 'host:' .. host .. ':sessions' end
local function owned_key(owner) return 'user:' .. owner .. ':sessions' end
local function breaker_key(kind) return 'breaker:' .. kind end

-- As contract.keys.of_kind.
local function of_kind(key, kind)
  if kind == DEFAULT_KIND then return key end
  return key .. ':' .. kind
end

-- The kind of agent that a session has or waits for.
local function kind_of(id)
  local kind = redis.call('HGET', session_key(id), 'kind')
  return kind and kind ~= '' and kind or DEFAULT_KIND
end

local function is_warming(id)
  return redis.call('SISMEMBER', of_kind(POOL_WARMING, kind_of(id)), id) == 1
end

-- Whether a comma separated list has this word.
local function has(list, word)
  return string.find(',' .. list .. ',', ',' .. word .. ',', 1, true) ~= nil
end

-- A number at the head of a list that keeps only its newest.
local function push(list, value, most)
  if redis.call('LPUSH', list, value) > most then redis.call('LTRIM', list, 0, most - 1) end
end

-- The greatest fence so far; what cannot be one, whoever wrote it, is none.
local function last_fence()
  local last = tonumber(redis.call('GET', STATS_FENCE)) or 0
  return last < 2^53 and last or 0
end

-- Greater than every fence before, also when Redis came back from an append-only file that lacks its last second.
local function next_fence()
  local fence = string.format('%.0f', math.max(last_fence() + 1, TIME[1] * 1000000 + TIME[2]))
  redis.call('SET', STATS_FENCE, fence)
  return fence
end

local told = {}
-- Tells whoever watches this session, once for each script: a script is one change to those outside.
local function changed(id)
  if told[id] then return end
  told[id] = true
  redis.call('PUBLISH', CHANGED, id)
end

local function move(id, from, to)
  if not ALLOWED[from .. '>' .. to] then return false end
  redis.call('ZREM', BY_STATE[from], id)
  redis.call('ZADD', BY_STATE[to], NOW_TEXT, id)
  redis.call('HSET', session_key(id), 'status', to)
  changed(id)
  return true
end

local function tell(host, ...)
  local oldest = string.format('%.0f-0', math.floor((NOW - COMMANDS_S) * 1000))
  redis.call('XADD', commands_key(host), 'MAXLEN', '~', 1000, '*', ...)
  redis.call('XTRIM', commands_key(host), 'MINID', oldest)
  redis.call('EXPIRE', commands_key(host), COMMANDS_S)
end

-- A warm agent's lease is its host's: it is handed out only while that is fresh.
local function lease_is_fresh(host)
  local lease = redis.call('HMGET', host_key(host), 'leaseUntil', 'draining')
  return (tonumber(lease[1]) or 0) > NOW and lease[2] ~= '1'
end

local function drains(host)
  return redis.call('HGET', host_key(host), 'draining') == '1'
end

-- The kinds that a host serves; one that does not say knows of no other.
local function kinds_of(host)
  return redis.call('HGET', host_key(host), 'kinds') or DEFAULT_KIND
end

-- Whether a spawn of this kind would find no host: one that serves it drains or still loads it, or others are alive, and none
-- that serves it is. One that restarts is waited for.
local function none_takes(hosts, kind)
  local one_is_held, one_is_alive, one_is_waited_for = false, false, false
  for _, host in ipairs(redis.call('SMEMBERS', hosts)) do
    local is_alive = lease_is_fresh(host)
    one_is_alive = one_is_alive or is_alive
    if has(kinds_of(host), kind) then
      local loads = is_alive and has(redis.call('HGET', host_key(host), 'loading_kinds') or '', kind)
      if is_alive and not loads then return false end
      local is_held = loads or drains(host)
      one_is_held = one_is_held or is_held
      local is_lost = redis.call('HEXISTS', host_key(host), 'lostAt') == 1
      one_is_waited_for = one_is_waited_for or not (is_held or is_lost)
    end
  end
  return one_is_held or (one_is_alive and not one_is_waited_for)
end

-- How many agents a host can have, as it said last; nil where it says nothing, or what cannot be.
local function capacity_of(host)
  local capacity = tonumber(redis.call('HGET', host_key(host), 'capacity') or '')
  if capacity and capacity >= 0 and capacity < 1000000 then return capacity end
end

-- Whether a host has as many agents as it can have, as it measured.
local function is_full(host)
  local capacity = capacity_of(host)
  return capacity ~= nil and redis.call('SCARD', host_sessions_key(host)) >= capacity
end

-- Agents that the hosts which take spawns of this kind (nil: of any) can still take, as each measured with its last
-- heartbeat; spawns under way are not taken off. nil where it is not known: none is alive (one that restarts is waited for),
-- or one does not say. Also the kinds that these hosts serve, as a set.
local function hosts_room(hosts, kind)
  local room, beside = nil, {}
  for _, host in ipairs(redis.call('SMEMBERS', hosts)) do
    local served = kinds_of(host)
    if lease_is_fresh(host) and (not kind or has(served, kind)) then
      local capacity = capacity_of(host)
      if not capacity then return nil, {} end
      room = (room or 0) + math.max(0, capacity - redis.call('SCARD', host_sessions_key(host)))
      for each in string.gmatch(served, '[^,]+') do beside[each] = true end
    end
  end
  return room, beside
end

-- Spawns under way of these kinds.
local function spawning_of(kinds)
  local count = 0
  for _, id in ipairs(redis.call('ZRANGE', POOL_SPAWNING, 0, -1)) do
    if kinds[kind_of(id)] then count = count + 1 end
  end
  return count
end

local function refill_is_due()
  return redis.call('SET', REFILL_PENDING, '1', 'NX', 'PX', 1000) and '1' or '0'
end

-- Those that are, and those under way. A session whose agent is being replaced keeps the place that it has among the
-- assigned or active ones, so the spawns under way for new sessions are counted by the state of these.
local function agents()
  return redis.call('ZCARD', BY_STATE.ready) + redis.call('ZCARD', BY_STATE.assigned)
    + redis.call('ZCARD', BY_STATE.active) + redis.call('ZCARD', BY_STATE.starting) - redis.call('ZCARD', POOL_WAITING)
end

-- Whether one more agent of this kind may be started.
local function has_room(hosts, most_agents, kind, most_of_kind)
  if none_takes(hosts, kind) or agents() >= most_agents then return false end
  if redis.call('SCARD', of_kind(POOL_AGENTS, kind)) >= most_of_kind then return false end
  local room, beside = hosts_room(hosts, kind)
  return not room or redis.call('ZCARD', POOL_SPAWNING) < room or spawning_of(beside) < room
end

-- The agent of a session, one process named for ever, as one text; '' while it has none.
local function agent_of(key)
  local a = redis.call('HMGET', key, 'host', 'bootId', 'agentPid', 'agentTicks')
  return a[3] and table.concat(a, ' ') or ''
end

local function was_replaced(key, agent)
  local before = redis.call('HGET', key, 'replaced')
  return before and has(before, agent)
end

-- Whether a session still needs that an agent is started: its first one, or another one in a call.
local function lacks_agent(key)
  local s = redis.call('HMGET', key, 'status', 'agentPid')
  return s[1] == 'starting' or ((s[1] == 'assigned' or s[1] == 'active') and not s[2])
end

-- A try on this host came to nothing: for a while the pool's spawns go to others.
local function note_failure(host)
  if host and redis.call('EXISTS', host_key(host)) == 1 then
    redis.call('HSET', host_key(host), 'spawnFailedAt', NOW_TEXT)
  end
end

-- Where its spawn was the one try of a breaker that is half-open, another one may be.
local function leave_try(id, kind)
  local breaker = breaker_key(kind)
  if redis.call('HGET', breaker, 'tryId') == id then redis.call('HDEL', breaker, 'tryId', 'tryUntil') end
end

-- Has a user's session wait in the place that it would have had from the beginning.
local function hold_in_place(key, id)
  leave_try(id, kind_of(id))
  redis.call('HDEL', key, 'spawnTask', 'spawnHost')
  redis.call('ZREM', POOL_SPAWNING, id)
  redis.call('SREM', of_kind(POOL_AGENTS, kind_of(id)), id)
  redis.call('ZADD', POOL_WAITING, redis.call('HGET', key, 'createdAt') or NOW_TEXT, id)
  changed(id)
end

-- Ends or fails a session in whatever live state it is in, and has its host end the agent.
local function finish(id, from, to, reason, code, record_s)
  local key = session_key(id)
  if not move(id, from, to) then return false end
  local kind = kind_of(id)
  for _, list in ipairs({POOL_READY, POOL_WARMING, POOL_AGENTS}) do redis.call('SREM', of_kind(list, kind), id) end
  redis.call('ZREM', POOL_SPAWNING, id)
  redis.call('ZREM', POOL_WAITING, id)
  leave_try(id, kind)
  redis.call('HSET', key, 'endedAt', NOW_TEXT, 'endReason', reason)
  if to == 'failed' then redis.call('HSET', key, 'error', reason, 'errorCode', code) end
  redis.call('EXPIRE', key, record_s)
  local s = redis.call('HMGET', key, 'host', 'owner', 'assignedAt')
  local host, claimed_at = s[1], tonumber(s[3] or '')
  local was_call = from == 'assigned' or from == 'active'
  if was_call and to == 'ended' and claimed_at then
    push(STATS_CALL_RECENT, string.format('%.3f', math.max(0, NOW - claimed_at)), 100)
  end
  if s[2] then redis.call('SREM', owned_key(s[2]), id) end
  if host then
    redis.call('SREM', host_sessions_key(host), id)
    tell(host, 'type', 'end', 'session', id, 'reason', reason)
  end
  return true, host
end

-- Takes the agent of an assigned or active session from it and has another one started in the same room; past the most
-- replacements the session fails. Its fence grows, so that the agent before is refused wherever it may still live.
local function replace(id, from, reason, code, most, begin_s, record_s, counters)
  local key = session_key(id)
  local s = redis.call('HMGET', key, 'replacements', 'replaced', 'host')
  local before = tonumber(s[1]) or 0
  if before >= most then
    if before > 0 then reason = reason .. '; its agent was replaced ' .. before .. ' times before' end
    finish(id, from, 'failed', reason, code, record_s)
    return false
  end
  local agent = agent_of(key)
  redis.call('SREM', host_sessions_key(s[3]), id)
  redis.call('HDEL', key, 'host', 'bootId', 'agentPid', 'agentTicks', 'spawnTask', 'spawnHost', 'passed')
  redis.call('HSET', key, 'replacements', before + 1, 'replacedAt', NOW_TEXT, 'attempts', 0, 'fence', next_fence(),
    'replaced', s[2] and s[2] .. ',' .. agent or agent)
  redis.call('ZADD', POOL_SPAWNING, NOW + begin_s, id)
  redis.call('HINCRBY', counters, code, 1)
  changed(id)
  return true
end

-- What an earlier request with this key was answered; nil when there was none.
local function earlier(idem, body)
  local kept = redis.call('HMGET', idem, 'body', 'answer', 'session', 'kind')
  if not kept[1] then return nil end
  if kept[1] ~= body then return {'conflict'} end
  if kept[2] then return {'answered', kept[2]} end
  return {kept[4] or 'none', kept[3] or ''}
end
