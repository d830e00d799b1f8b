-- Takes a waiting session out of the queue for its spawn, if there is capacity and a spawn is free.
-- KEYS[18] session:<id>  KEYS[19] hosts  KEYS[20] breaker:<name>
-- ARGV     id, most agents, most spawns at once, spawn deadline (s)
-- also     host:<id> and host:<id>:sessions of each host
-- Returns  1 or 0
local id, most_agents, most_spawns, deadline_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
if not has_room(KEYS[OWN + 2], most_agents) or redis.call('ZCARD', POOL_SPAWNING) >= most_spawns then return 0 end
if not redis.call('ZSCORE', POOL_WAITING, id) or not take_try(KEYS[OWN + 3], id, deadline_s) then return 0 end
redis.call('ZREM', POOL_WAITING, id)
redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
changed(id)
return 1
