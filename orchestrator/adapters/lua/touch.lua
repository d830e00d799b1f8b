-- Something happened in an active session.
-- KEYS[18] session:<id>
-- ARGV     id, '1' the user left | '0' the user is there | '' neither
local key, id, left = KEYS[OWN + 1], ARGV[1], ARGV[2]
redis.call('ZADD', BY_STATE.active, 'XX', NOW_TEXT, id)
if redis.call('EXISTS', key) == 0 then return 0 end
if left == '1' then redis.call('HSET', key, 'userLeftAt', NOW_TEXT) end
if left == '0' then redis.call('HDEL', key, 'userLeftAt') end
changed(id)
return 1
