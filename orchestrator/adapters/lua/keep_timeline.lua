-- Keeps what a user's page measured; the first one counts.
-- KEYS[18] session:<id>
-- ARGV     id, marks (JSON)
-- Returns  1 when it was the first, 0 when there was one, -1 when nobody has such a session
if not redis.call('HGET', KEYS[OWN + 1], 'userId') then return -1 end
local first = redis.call('HSETNX', KEYS[OWN + 1], 'timeline', ARGV[2])
if first == 1 then changed(ARGV[1]) end
return first
