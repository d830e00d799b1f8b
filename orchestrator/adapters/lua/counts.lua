-- All counts at one moment.
-- KEYS[18] pool:target  KEYS[19] stats:lastRefillAt  KEYS[20] pool:arrivals  KEYS[21] pool:demand
--          KEYS[22] hosts
-- also     host:<id> and host:<id>:sessions of each host
-- Returns  starting, ready, assigned, active, ended, failed, pool:ready, warming, spawning, waiting, target or '',
--          total spawned, total assigned, dead claims, last refill at or '', now, {slot, starts, …},
--          {slot, highest demand, …}, seconds of the newest spawns, agents that the hosts can still take or ''
local function number(key) return redis.call('GET', key) or '0' end
return {
  redis.call('ZCARD', BY_STATE.starting), redis.call('ZCARD', BY_STATE.ready), redis.call('ZCARD', BY_STATE.assigned),
  redis.call('ZCARD', BY_STATE.active), redis.call('ZCARD', BY_STATE.ended), redis.call('ZCARD', BY_STATE.failed),
  redis.call('SCARD', POOL_READY), redis.call('SCARD', POOL_WARMING),
  redis.call('ZCARD', POOL_SPAWNING), redis.call('ZCARD', POOL_WAITING),
  redis.call('GET', KEYS[OWN + 1]) or '', number(STATS_SPAWNED), number(STATS_ASSIGNED), number(STATS_DEAD_CLAIMS),
  redis.call('GET', KEYS[OWN + 2]) or '', NOW_TEXT,
  redis.call('HGETALL', KEYS[OWN + 3]), redis.call('HGETALL', KEYS[OWN + 4]),
  redis.call('LRANGE', STATS_SPAWN_RECENT, 0, -1), hosts_room(KEYS[OWN + 5]) or '',
}
