-- Gives an overdue spawn a new deadline, once: of two refills that found it overdue, one queues it again. The host that
-- began it has not ended it: it failed there.
-- KEYS[18] session:<id>
-- ARGV     id, spawn deadline (s)
-- also     host:<id> of that host
-- Returns  1 or 0
local id, deadline_s = ARGV[1], tonumber(ARGV[2])
local due = redis.call('ZSCORE', POOL_SPAWNING, id)
if not due or tonumber(due) > NOW or not lacks_agent(KEYS[OWN + 1]) then return 0 end
redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
note_failure(redis.call('HGET', KEYS[OWN + 1], 'spawnHost'))
redis.call('HDEL', KEYS[OWN + 1], 'spawnTask', 'spawnHost')
changed(id)
return 1
