-- Makes a `starting` session for the pool, if it still lacks one: two refills at once do not over-spawn.
-- KEYS[18] session:<id>  KEYS[19] hosts  KEYS[20] breaker:<name>
-- ARGV     id, target, most agents, most spawns at once, spawn deadline (s)
-- also     host:<id> and host:<id>:sessions of each host
-- Returns  1 or 0
local key, id = KEYS[OWN + 1], ARGV[1]
local target, most_agents, most_spawns, deadline_s =
  tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
if redis.call('SCARD', POOL_READY) + redis.call('SCARD', POOL_WARMING) >= target then return 0 end
if not has_room(KEYS[OWN + 2], most_agents) or redis.call('ZCARD', POOL_SPAWNING) >= most_spawns then return 0 end
if not take_try(KEYS[OWN + 3], id, deadline_s) then return 0 end
redis.call('HSET', key, 'status', 'starting', 'createdAt', NOW_TEXT)
redis.call('ZADD', BY_STATE.starting, NOW_TEXT, id)
redis.call('SADD', POOL_WARMING, id)
redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
changed(id)
return 1
