-- A host is stopped in order: its lease ends at once, and it is forgotten soon, unless an operator drains it.
-- KEYS[18] host:<id>
-- ARGV     which daemon of this id it is, how long it is still listed (s)
-- Returns  1, or 0 when another daemon is this host now, or nothing is known of it
local key = KEYS[OWN + 1]
local h = redis.call('HMGET', key, 'instance', 'draining', 'drainingBy')
if redis.call('EXISTS', key) == 0 or (h[1] or '') ~= ARGV[1] then return 0 end
redis.call('HSET', key, 'leaseUntil', '0')
if h[2] ~= '1' or h[3] == 'stop' then redis.call('EXPIRE', key, ARGV[2]) end
return 1
