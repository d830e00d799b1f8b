-- Something happened in an active session. In one that is not, nothing does: a call that ended with the button would else
-- have its user leave after its end.
-- KEYS[18] session:<id>
-- ARGV     id, '1' the user left | '0' the user is there | '' neither
local key, id, left = KEYS[OWN + 1], ARGV[1], ARGV[2]
if redis.call('HGET', key, 'status') ~= 'active' then return 0 end
redis.call('ZADD', BY_STATE.active, 'XX', NOW_TEXT, id)
if left == '1' then redis.call('HSET', key, 'userLeftAt', NOW_TEXT) end
if left == '0' then redis.call('HDEL', key, 'userLeftAt') end
changed(id)
return 1
