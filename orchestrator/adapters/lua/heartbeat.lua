-- A host's heartbeat: renews its lease and says how it is.
-- KEYS[18] host:<id>  KEYS[19] hosts
-- ARGV     host, lease (s), then fields and values
-- Returns  1 when it had been declared lost, which it is no more
local lost = redis.call('HDEL', KEYS[OWN + 1], 'lostAt')
redis.call('HDEL', KEYS[OWN + 1], 'suspectAt')
redis.call('HSET', KEYS[OWN + 1], 'leaseUntil', string.format('%.6f', NOW + tonumber(ARGV[2])), 'heartbeatAt', NOW_TEXT,
  unpack(ARGV, 3))
redis.call('EXPIRE', KEYS[OWN + 1], 86400)
redis.call('SADD', KEYS[OWN + 2], ARGV[1])
return lost
