-- Brings the store in line with a living agent: newly ready, changed, or seen again after an outage.
-- An agent serves one user only, so an assignment that it already has always stands, where its host knows of it. What only
-- the agent itself says of it stands where the store knows nothing: an agent is a stranger. One whose predecessor died is
-- given that one's; the predecessor, and whoever else is not the session's agent, is refused.
-- KEYS[18] session:<id>  KEYS[19] host:<id>:sessions  KEYS[20] stats:vacancies  KEYS[21] stats:refillRecent
-- ARGV     id, host, boot id, pid, start ticks, the agent's state, created at, startup (s or ''), assignment (JSON or ''),
--          fence, user id, user name, histogram bounds (comma separated), '1' when it was started for a call,
--          generation, kind, '1' when the assignment is the agent's own word
-- also     host:<id>:sessions of the agent's predecessor; pool:* and stats:vacancies of the session's kind
-- Returns  {accepted, fence, assignment, replaces}; the last three are '' unless the host must assign it
local key, mine, refills = KEYS[OWN + 1], KEYS[OWN + 2], KEYS[OWN + 4]
local id, host, boot, pid, ticks, state, created, startup, assignment, fence, user, name, bounds = unpack(ARGV, 1, 13)
local for_call, hearsay = ARGV[14] == '1', ARGV[17] == '1'
-- Fences are times, or one more than the last (next_fence). One beyond that is none, however wrong a clock is: it would be the
-- greatest for ever.
local AHEAD = 365 * 86400 * 1000000
local s = redis.call('HMGET', key, 'status', 'host', 'replacements', 'userId', 'fence', 'assignment')
local status, user_id, known_fence, settings = s[1], s[4], s[5], s[6]
-- The session's, where there is one; one that is written anew has its agent's.
local kind = BY_STATE[status] and kind_of(id) or ARGV[16]
local ready, vacancies = of_kind(POOL_READY, kind), of_kind(KEYS[OWN + 3], kind)

local function know_agent()
  redis.call('HSET', key, 'host', host, 'bootId', boot, 'agentPid', pid, 'agentTicks', ticks)
  if startup ~= '' then redis.call('HSET', key, 'startupTime', startup) end
  if ARGV[15] ~= '' then redis.call('HSET', key, 'generation', ARGV[15]) end
  redis.call('SADD', mine, id)
  redis.call('SADD', of_kind(POOL_AGENTS, kind), id)
end

local function know_claim()
  if hearsay and user_id then
    if known_fence then return end
    redis.call('HSET', key, 'fence', fence)
  else
    redis.call('HSET', key, 'fence', fence, 'userId', user, 'userName', name, 'assignment', assignment)
  end
  if tonumber(fence) > last_fence() then redis.call('SET', STATS_FENCE, fence) end
  changed(id)
end

local function measure()
  redis.call('INCR', STATS_SPAWNED)
  if startup == '' then return end
  push(STATS_SPAWN_RECENT, startup, 100)
  redis.call('HINCRBYFLOAT', STATS_SPAWN_SECONDS, 'sum', startup)
  redis.call('HINCRBY', STATS_SPAWN_SECONDS, 'count', 1)
  for bound in string.gmatch(bounds, '[^,]+') do
    if tonumber(startup) <= tonumber(bound) then redis.call('HINCRBY', STATS_SPAWN_SECONDS, bound, 1) end
  end
end

-- The agent stands where one was claimed: how long was that place empty?
local function fill_vacancy()
  local since = redis.call('RPOP', vacancies)
  if since then push(refills, string.format('%s %.1f', NOW_TEXT, (NOW - tonumber(since)) * 1000), 100) end
end

local function write_anew()
  redis.call('HSET', key, 'status', state, 'createdAt', created, 'readyAt', NOW_TEXT)
  redis.call('ZADD', BY_STATE[state], NOW_TEXT, id)
  redis.call('HDEL', key, 'kind')
  if kind ~= DEFAULT_KIND then redis.call('HSET', key, 'kind', kind) end
  if string.sub(id, 1, 8) == 'prewarm_' and state ~= 'ready' then redis.call('HSET', key, 'prewarmed', '1') end
  know_agent()
  if state == 'ready' then
    redis.call('SADD', ready, id)
  else
    redis.call('HSET', key, 'assignedAt', NOW_TEXT)
    know_claim()
  end
  if state == 'active' then redis.call('HSET', key, 'activeAt', NOW_TEXT) end
  changed(id)
end

local replaces = s[3] and '1' or ''
local refused, accepted = {'0', '', '', ''}, {'1', '', '', ''}
if hearsay and (tonumber(fence) or 0) > math.max(last_fence(), TIME[1] * 1000000 + AHEAD) then return refused end
-- What has no state, or none that there is, is as if it were not there: the agents are the truth.
if not BY_STATE[status] then
  -- Redis came back empty while a call's agent was being replaced: whose call it was, nobody knows, and it must not become
  -- another user's.
  if for_call and state == 'ready' then return refused end
  write_anew()
  return accepted
end
if status == 'ended' or status == 'failed' then return refused end

local who, own = table.concat({host, boot, pid, ticks}, ' '), agent_of(key)
if who ~= own then
  if was_replaced(key, who) then return refused end
  -- The fence grew with each replacement. Who holds a greater one came after the agent that is known (the store lost its
  -- last second); who holds a smaller one was replaced.
  local in_call = status == 'assigned' or status == 'active'
  local held, known = tonumber(fence) or 0, tonumber(known_fence) or 0
  if own ~= '' and not (in_call and held > known) then return refused end
  if own == '' and in_call and state ~= 'ready' and held < known then return refused end
  if s[2] and s[2] ~= host then redis.call('SREM', host_sessions_key(s[2]), id) end
  if in_call then
    if redis.call('ZREM', POOL_SPAWNING, id) == 1 then measure() end
    changed(id)
  end
end
know_agent()

if status == 'starting' then
  move(id, 'starting', 'ready')
  redis.call('ZREM', POOL_SPAWNING, id)
  redis.call('ZREM', POOL_WAITING, id)
  redis.call('SREM', of_kind(POOL_WARMING, kind), id)
  redis.call('HSET', key, 'readyAt', NOW_TEXT)
  measure()
  status = 'ready'
  if user_id and state == 'ready' then
    local claim = next_fence()
    move(id, 'ready', 'assigned')
    redis.call('HSET', key, 'fence', claim, 'assignedAt', NOW_TEXT)
    redis.call('INCR', STATS_ASSIGNED)
    return {'1', claim, settings, ''}
  end
  if not user_id then fill_vacancy() end
end

if state == 'ready' then
  -- Also when its user is there already: the claim's command was lost before it reached the agent.
  if status == 'assigned' or status == 'active' then return {'1', known_fence, settings, replaces} end
  if status == 'ready' then redis.call('SADD', ready, id) end
  return accepted
end

if status == 'ready' then
  redis.call('SREM', ready, id)
  move(id, 'ready', 'assigned')
  redis.call('HSET', key, 'assignedAt', NOW_TEXT)
  if not user_id then redis.call('HSET', key, 'prewarmed', '1') end
  status = 'assigned'
end
if known_fence ~= fence then know_claim() end
if state == 'active' and status == 'assigned' then
  move(id, 'assigned', 'active')
  redis.call('HSET', key, 'activeAt', NOW_TEXT)
end
return accepted
