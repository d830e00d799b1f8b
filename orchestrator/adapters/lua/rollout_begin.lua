-- Begins a rollout, unless one is under way.
-- KEYS[18] rollout
-- ARGV     id, its record is kept for (s)
-- Returns  the id of the one that is under way
local key = KEYS[OWN + 1]
local current = redis.call('HMGET', key, 'id', 'state')
if current[2] == 'running' then return current[1] end
redis.call('DEL', key)
redis.call('HSET', key, 'id', ARGV[1], 'state', 'running', 'startedAt', NOW_TEXT, 'movedAt', NOW_TEXT, 'recycled', 0,
  'detail', '')
redis.call('EXPIRE', key, ARGV[2])
return ARGV[1]
