-- Counts one try of a spawn and gives it its deadline.
-- KEYS[18] session:<id>
-- ARGV     id, spawn deadline (s), host that is to start it
-- also     host:<id>
-- Returns  which try this is, from 1; 0 when the session needs no agent any more, or waits for capacity (and stays in
--          its place); -1 when that host drains
local key, id, deadline_s = KEYS[OWN + 1], ARGV[1], tonumber(ARGV[2])
if redis.call('HGET', key, 'status') ~= 'starting' or redis.call('ZSCORE', POOL_WAITING, id) then return 0 end
if drains(ARGV[3]) then return -1 end
redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
changed(id)
return redis.call('HINCRBY', key, 'attempts', 1)
