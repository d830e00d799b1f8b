-- Takes a waiting session out of the queue for its spawn, if there is capacity and a spawn is free.
-- KEYS[18] session:<id>  KEYS[19] hosts
-- ARGV     id, most agents, most of its kind, most spawns at once, spawn deadline (s)
-- also     host:<id> and host:<id>:sessions of each host, session:<id> of each spawn under way, pool:agents and
--          breaker:<kind> of its kind
-- Returns  1 or 0
local id, most_agents, most_of_kind = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local most_spawns, deadline_s = tonumber(ARGV[4]), tonumber(ARGV[5])
local kind = kind_of(id)
if redis.call('ZCARD', POOL_SPAWNING) >= most_spawns then return 0 end
if not has_room(KEYS[OWN + 2], most_agents, kind, most_of_kind) then return 0 end
if not redis.call('ZSCORE', POOL_WAITING, id) or not take_try(breaker_key(kind), id, deadline_s) then return 0 end
redis.call('ZREM', POOL_WAITING, id)
redis.call('SADD', of_kind(POOL_AGENTS, kind), id)
redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
changed(id)
return 1
