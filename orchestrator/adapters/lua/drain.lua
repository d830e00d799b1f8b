-- Takes a host out of claims, or puts it back, and has it look at once.
-- KEYS[18] host:<id>
-- ARGV     host, '1' drain | '0' undrain, by whom ('operator', or 'stop' for a host that is being stopped), how long a
--          draining host is remembered after its last heartbeat (s)
-- Returns  1, or 0 when there is no such host
local key, host, wanted, by, keep_s = KEYS[OWN + 1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', key) == 0 then return 0 end
if wanted == '0' then
  redis.call('HDEL', key, 'draining', 'drainingSince', 'drainingBy', 'drained')
elseif redis.call('HGET', key, 'draining') ~= '1' then
  redis.call('HSET', key, 'draining', '1', 'drainingSince', NOW_TEXT, 'drainingBy', by)
  redis.call('HDEL', key, 'drained')
  redis.call('EXPIRE', key, keep_s)
elseif by == 'operator' then
  redis.call('HSET', key, 'drainingBy', by) -- so it stays drained when it is started again
end
tell(host, 'type', 'look')
return 1
