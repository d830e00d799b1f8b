-- Ends a rollout, or says what it waits for.
-- KEYS[18] rollout
-- ARGV     its id, 'running' | 'done' | 'failed', words
-- Returns  1, or 0 when it is not under way any more
local key = KEYS[OWN + 1]
local current = redis.call('HMGET', key, 'id', 'state')
if current[1] ~= ARGV[1] or current[2] ~= 'running' then return 0 end
redis.call('HSET', key, 'state', ARGV[2], 'detail', ARGV[3])
if ARGV[2] ~= 'running' then redis.call('HSET', key, 'endedAt', NOW_TEXT) end
return 1
