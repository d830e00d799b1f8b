-- A host's heartbeat: renews its lease and says how it is. Refused while the lease is another daemon's.
-- KEYS[18] host:<id>  KEYS[19] hosts
-- ARGV     host, which daemon of this id it is, lease (s), how long it is remembered (s), and how long while an operator
--          drains it (s), '1' when as far as it knows one does, then fields and values
-- Returns  {'1', now, '1' when it is to drain, since when, by whom, '1' when it had been declared lost, which it is no more,
--          '1' when nothing was known of it} | {'0', the other daemon's heartbeat, how much longer its lease lasts (s)}
local key = KEYS[OWN + 1]
local host, instance, lease_s, keep_s, keep_draining_s, drains = unpack(ARGV, 1, 6)
local last = redis.call('HMGET', key, 'instance', 'leaseUntil', 'heartbeatAt')
local left_s = (tonumber(last[2] or '') or 0) - NOW
if left_s > 0 and last[1] and last[1] ~= '' and last[1] ~= instance then return {'0', last[3] or '', tostring(left_s)} end

local known = redis.call('HEXISTS', key, 'host') -- a suspicion may be there
local lost = redis.call('HDEL', key, 'lostAt')
redis.call('HDEL', key, 'suspectAt')
redis.call('HSET', key, 'leaseUntil', string.format('%.6f', NOW + tonumber(lease_s)), 'heartbeatAt', NOW_TEXT, unpack(ARGV, 7))
if known == 0 and drains == '1' then
  redis.call('HSET', key, 'draining', '1', 'drainingSince', NOW_TEXT, 'drainingBy', 'operator')
end
local drain = redis.call('HMGET', key, 'draining', 'drainingSince', 'drainingBy')
redis.call('EXPIRE', key, drain[1] == '1' and drain[3] ~= 'stop' and keep_draining_s or keep_s)
redis.call('SADD', KEYS[OWN + 2], host)
return {'1', NOW_TEXT, drain[1] or '', drain[2] or NOW_TEXT, drain[3] or '', tostring(lost), known == 0 and '1' or ''}
