-- A host's heartbeat: renews its lease and says how it is.
-- KEYS[18] host:<id>  KEYS[19] hosts
-- ARGV     host, lease (s), how long it is remembered (s), and how long while it drains (s), then fields and values
-- Returns  {now, '1' when it is to drain, since when, by whom, '1' when it had been declared lost, which it is no more,
--           '1' when nothing was known of it}
local known = redis.call('EXISTS', KEYS[OWN + 1])
local lost = redis.call('HDEL', KEYS[OWN + 1], 'lostAt')
redis.call('HDEL', KEYS[OWN + 1], 'suspectAt')
redis.call('HSET', KEYS[OWN + 1], 'leaseUntil', string.format('%.6f', NOW + tonumber(ARGV[2])), 'heartbeatAt', NOW_TEXT,
  unpack(ARGV, 5))
local drain = redis.call('HMGET', KEYS[OWN + 1], 'draining', 'drainingSince', 'drainingBy')
redis.call('EXPIRE', KEYS[OWN + 1], drain[1] == '1' and ARGV[4] or ARGV[3])
redis.call('SADD', KEYS[OWN + 2], ARGV[1])
return {NOW_TEXT, drain[1] or '', drain[2] or NOW_TEXT, drain[3] or '', tostring(lost), known == 0 and '1' or ''}
