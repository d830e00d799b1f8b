-- All counts at one moment.
-- KEYS[18] pool:target  KEYS[19] stats:lastRefillAt  KEYS[20] pool:arrivals  KEYS[21] pool:demand
--          KEYS[22] hosts
-- ARGV     kinds
-- also     the same of each kind, host:<id> and host:<id>:sessions of each host
-- Returns  starting, ready, assigned, active, ended, failed, spawning, waiting, total spawned, total assigned, dead claims,
--          last refill at or '', now, seconds of the newest spawns, agents that the hosts can still take or '', then of each
--          kind {pool:ready, warming, target or '', {slot, starts, …}, {slot, highest demand, …}, sessions that wait}
local function number(key) return redis.call('GET', key) or '0' end
local room = hosts_room(KEYS[OWN + 5])
local waiting = {}
for _, id in ipairs(redis.call('ZRANGE', POOL_WAITING, 0, -1)) do  -- MAX_QUEUE at most
  local kind = kind_of(id)
  waiting[kind] = (waiting[kind] or 0) + 1
end
local answer = {
  redis.call('ZCARD', BY_STATE.starting), redis.call('ZCARD', BY_STATE.ready), redis.call('ZCARD', BY_STATE.assigned),
  redis.call('ZCARD', BY_STATE.active), redis.call('ZCARD', BY_STATE.ended), redis.call('ZCARD', BY_STATE.failed),
  redis.call('ZCARD', POOL_SPAWNING), redis.call('ZCARD', POOL_WAITING),
  number(STATS_SPAWNED), number(STATS_ASSIGNED), number(STATS_DEAD_CLAIMS),
  redis.call('GET', KEYS[OWN + 2]) or '', NOW_TEXT, redis.call('LRANGE', STATS_SPAWN_RECENT, 0, -1), room or '',
}
for _, kind in ipairs(ARGV) do
  table.insert(answer, {
    redis.call('SCARD', of_kind(POOL_READY, kind)), redis.call('SCARD', of_kind(POOL_WARMING, kind)),
    redis.call('GET', of_kind(KEYS[OWN + 1], kind)) or '',
    redis.call('HGETALL', of_kind(KEYS[OWN + 3], kind)), redis.call('HGETALL', of_kind(KEYS[OWN + 4], kind)),
    waiting[kind] or 0,
  })
end
return answer
