-- Takes a host out of claims, or puts it back, and has it look at once.
-- KEYS[18] host:<id>
-- ARGV     host, '1' drain | '0' undrain, by whom ('operator', or 'stop' for a host that is being stopped), how long what an
--          operator said is remembered after the host's last heartbeat (s)
-- Returns  1, or 0 when there is no such host
local key, host, wanted, by, keep_s = KEYS[OWN + 1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('EXISTS', key) == 0 then return 0 end
if wanted == '0' then
  redis.call('HDEL', key, 'draining', 'drainingSince', 'drainingBy', 'drained')
elseif redis.call('HGET', key, 'draining') ~= '1' then
  redis.call('HSET', key, 'draining', '1', 'drainingSince', NOW_TEXT, 'drainingBy', by)
  redis.call('HDEL', key, 'drained')
elseif by == 'operator' then
  redis.call('HSET', key, 'drainingBy', by) -- so it stays drained when it is started again
end
if by ~= 'stop' then redis.call('EXPIRE', key, keep_s) end -- it is to hear it, also when it is away
tell(host, 'type', 'look')
return 1
