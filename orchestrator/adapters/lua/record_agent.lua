-- Brings the store in line with a living agent: newly ready, changed, or seen again after an outage.
-- An agent serves one user only, so an assignment that it already has always stands.
-- KEYS[18] session:<id>  KEYS[19] host:<id>:sessions  KEYS[20] stats:vacancies  KEYS[21] stats:refillRecent
-- ARGV     id, host, boot id, pid, start ticks, the agent's state, created at, startup (s or ''), assignment (JSON or ''),
--          fence, user id, user name, histogram bounds (comma separated)
-- Returns  {accepted, fence, assignment}; the last two are '' unless the host must assign it
local key, mine, vacancies, refills = KEYS[OWN + 1], KEYS[OWN + 2], KEYS[OWN + 3], KEYS[OWN + 4]
local id, host, boot, pid, ticks, state, created, startup, assignment, fence, user, name, bounds = unpack(ARGV, 1, 13)

local function know_agent()
  redis.call('HSET', key, 'host', host, 'bootId', boot, 'agentPid', pid, 'agentTicks', ticks)
  if startup ~= '' then redis.call('HSET', key, 'startupTime', startup) end
  redis.call('SADD', mine, id)
end

local function know_claim()
  redis.call('HSET', key, 'fence', fence, 'userId', user, 'userName', name, 'assignment', assignment)
  local last = tonumber(redis.call('GET', STATS_FENCE) or '0')
  if tonumber(fence) > last then redis.call('SET', STATS_FENCE, fence) end
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
  if string.sub(id, 1, 8) == 'prewarm_' and state ~= 'ready' then redis.call('HSET', key, 'prewarmed', '1') end
  know_agent()
  if state == 'ready' then
    redis.call('SADD', POOL_READY, id)
  else
    redis.call('HSET', key, 'assignedAt', NOW_TEXT)
    know_claim()
  end
  if state == 'active' then redis.call('HSET', key, 'activeAt', NOW_TEXT) end
  changed(id)
end

local s = redis.call('HMGET', key, 'status', 'host', 'bootId', 'agentPid', 'agentTicks', 'userId', 'fence', 'assignment')
local status = s[1]
if not status then
  write_anew()
  return {'1', '', ''}
end
if status == 'ended' or status == 'failed' then return {'0', '', ''} end
if s[4] and (s[2] ~= host or s[3] ~= boot or s[4] ~= pid or s[5] ~= ticks) then return {'0', '', ''} end
know_agent()

if status == 'starting' then
  move(id, 'starting', 'ready')
  redis.call('ZREM', POOL_SPAWNING, id)
  redis.call('ZREM', POOL_WAITING, id)
  redis.call('SREM', POOL_WARMING, id)
  redis.call('HSET', key, 'readyAt', NOW_TEXT)
  measure()
  status = 'ready'
  if s[6] and state == 'ready' then
    local claim = next_fence()
    move(id, 'ready', 'assigned')
    redis.call('HSET', key, 'fence', claim, 'assignedAt', NOW_TEXT)
    redis.call('INCR', STATS_ASSIGNED)
    return {'1', claim, s[8]}
  end
  if not s[6] then fill_vacancy() end
end

if state == 'ready' then
  -- Also when its user is there already: the claim's command was lost before it reached the agent.
  if status == 'assigned' or status == 'active' then return {'1', s[7], s[8]} end
  if status == 'ready' then redis.call('SADD', POOL_READY, id) end
  return {'1', '', ''}
end

if status == 'ready' then
  redis.call('SREM', POOL_READY, id)
  move(id, 'ready', 'assigned')
  redis.call('HSET', key, 'assignedAt', NOW_TEXT)
  if not s[6] then redis.call('HSET', key, 'prewarmed', '1') end
  status = 'assigned'
end
if s[7] ~= fence then know_claim() end
if state == 'active' and status == 'assigned' then
  move(id, 'assigned', 'active')
  redis.call('HSET', key, 'activeAt', NOW_TEXT)
end
return {'1', '', ''}
