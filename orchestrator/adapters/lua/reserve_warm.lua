-- Makes a `starting` session for the pool of a kind, if it still lacks one: two refills at once do not over-spawn.
-- KEYS[18] session:<id>  KEYS[19] hosts
-- ARGV     id, target, most agents, most spawns at once, spawn deadline (s), kind, most of that kind
-- also     host:<id> and host:<id>:sessions of each host, session:<id> of each spawn under way, pool:ready, pool:warming,
--          pool:agents and breaker:<kind> of the kind
-- Returns  1 or 0
local key, id = KEYS[OWN + 1], ARGV[1]
local target, most_agents, most_spawns, deadline_s =
  tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local kind, most_of_kind = ARGV[6], tonumber(ARGV[7])
local warming = of_kind(POOL_WARMING, kind)
if redis.call('SCARD', of_kind(POOL_READY, kind)) + redis.call('SCARD', warming) >= target then return 0 end
if redis.call('ZCARD', POOL_SPAWNING) >= most_spawns then return 0 end
if not has_room(KEYS[OWN + 2], most_agents, kind, most_of_kind) then return 0 end
if not take_try(breaker_key(kind), id, deadline_s) then return 0 end
redis.call('HSET', key, 'status', 'starting', 'createdAt', NOW_TEXT)
redis.call('ZADD', BY_STATE.starting, NOW_TEXT, id)
if kind ~= DEFAULT_KIND then redis.call('HSET', key, 'kind', kind) end
redis.call('SADD', warming, id)
redis.call('SADD', of_kind(POOL_AGENTS, kind), id)
redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
changed(id)
return 1
