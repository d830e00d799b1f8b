-- One sample of the whole system in each slot of time, whoever asks for it first.
-- KEYS[18] stats:samples     KEYS[19] stats:sampled    KEYS[20] stats:starts  KEYS[21] stats:startRecent
-- KEYS[22] stats:refillRecent  KEYS[23] stats:vacancies  KEYS[24] pool:target  KEYS[25] pool:aim
-- ARGV     a slot's length (s), how many samples are kept, how far back latencies count (s), how many of the newest spawns
--          count, then each kind, and its pool's size when none is set
-- also     pool:ready, pool:warming, pool:target, pool:aim and stats:vacancies of each kind
-- Returns  1, or 0 when this slot has its sample
local samples, sampled, starts = KEYS[OWN + 1], KEYS[OWN + 2], KEYS[OWN + 3]
local start_recent, refill_recent, vacancies = KEYS[OWN + 4], KEYS[OWN + 5], KEYS[OWN + 6]
local slot = string.format('%.0f', math.floor(NOW / tonumber(ARGV[1])))
local before = redis.call('HMGET', sampled, 'slot', 'warm', 'cold')
if before[1] == slot then return 0 end

-- The smallest value that so large a share of them does not exceed.
local function percentile(values, share)
  if #values == 0 then return 'null' end
  return string.format('%.1f', values[math.max(1, math.ceil(#values * share))])
end

-- The values of "at value" entries, newest first, that are not too old.
local function recent(list)
  local values = {}
  for _, entry in ipairs(redis.call('LRANGE', list, 0, -1)) do
    local at, value = string.match(entry, '^(%S+) (%S+)$')
    if tonumber(at) < NOW - tonumber(ARGV[3]) then break end
    table.insert(values, tonumber(value))
  end
  table.sort(values)
  return values
end

local function spawns_ms()
  local values = {}
  for _, seconds in ipairs(redis.call('LRANGE', STATS_SPAWN_RECENT, 0, tonumber(ARGV[4]) - 1)) do
    table.insert(values, tonumber(seconds) * 1000)
  end
  table.sort(values)
  return values
end

local counted = redis.call('HMGET', starts, 'warm', 'cold')
local warm, cold = tonumber(counted[1] or '0'), tonumber(counted[2] or '0')
local function warm_rate()
  local new_warm, new_cold = warm - tonumber(before[2] or '0'), cold - tonumber(before[3] or '0')
  if not before[1] or new_warm < 0 or new_cold < 0 or new_warm + new_cold == 0 then return 'null' end
  return string.format('%.3f', new_warm / (new_warm + new_cold))
end

local ready, target = 0, 0
local function number_at(key) return tonumber(redis.call('GET', key)) end
for i = 5, #ARGV, 2 do
  local kind, waits = ARGV[i], redis.call('SCARD', of_kind(POOL_READY, ARGV[i]))
  local wanted = number_at(of_kind(KEYS[OWN + 8], kind)) or number_at(of_kind(KEYS[OWN + 7], kind)) or tonumber(ARGV[i + 1])
  -- No place is empty: what is left here is of agents that were not replaced, as the pool was made smaller.
  if waits >= wanted and redis.call('SCARD', of_kind(POOL_WARMING, kind)) == 0 then
    redis.call('DEL', of_kind(vacancies, kind))
  end
  ready, target = ready + waits, target + wanted
end

local started = recent(start_recent)
redis.call('RPUSH', samples, string.format('{"at":%.3f,"ready":%d,"target":%d,"starting":%d,"active":%d,"waiting":%d,'
  .. '"warmHitRate":%s,"startP50Ms":%s,"startP95Ms":%s,"spawnP50Ms":%s,"refillLagMs":%s}',
  NOW, ready, target, redis.call('ZCARD', POOL_SPAWNING), redis.call('ZCARD', BY_STATE.active),
  redis.call('ZCARD', POOL_WAITING), warm_rate(), percentile(started, 0.5), percentile(started, 0.95),
  percentile(spawns_ms(), 0.5), percentile(recent(refill_recent), 0.5)))
redis.call('LTRIM', samples, -tonumber(ARGV[2]), -1)
redis.call('HSET', sampled, 'slot', slot, 'warm', warm, 'cold', cold)
return 1
