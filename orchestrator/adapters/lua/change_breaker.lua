-- Writes what a spawn's outcome made of the breaker, unless somebody changed it meanwhile: then it is decided anew.
-- KEYS[18] breaker:<name>
-- ARGV     the version it was decided on, failures, opened, since, open until, code, reason
-- Returns  1 or 0
local key = KEYS[OWN + 1]
if (redis.call('HGET', key, 'version') or '0') ~= ARGV[1] then return 0 end
redis.call('HSET', key, 'failures', ARGV[2], 'opened', ARGV[3], 'since', ARGV[4], 'openUntil', ARGV[5],
  'code', ARGV[6], 'reason', ARGV[7])
redis.call('HDEL', key, 'tryId', 'tryUntil')
redis.call('HINCRBY', key, 'version', 1)
return 1
