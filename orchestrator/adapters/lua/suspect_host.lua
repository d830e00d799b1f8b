-- Notes since when a host is looked at as silent, unless it was heard meanwhile.
-- KEYS[18] host:<id>
-- ARGV     its heartbeat as it was seen
-- Returns  1 or 0
if redis.call('HGET', KEYS[OWN + 1], 'heartbeatAt') ~= ARGV[1] then return 0 end
return redis.call('HSETNX', KEYS[OWN + 1], 'suspectAt', NOW_TEXT)
