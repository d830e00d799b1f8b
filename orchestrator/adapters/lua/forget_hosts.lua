-- Forgets the hosts whose records are gone: every script that asks for room looks through all that are listed. One that the
-- store believes to have agents is suspected, as any silent host, and lost if it stays silent: its record has expired, too,
-- where the store was away for long, and then it may be about to be heard.
-- KEYS[18] hosts
-- ARGV     how long (s) a host was silent, at least, whose record is gone; how long (s) its suspicion is remembered
-- also     host:<id>, host:<id>:sessions and host:<id>:commands of each
-- Returns  the ids of those forgotten
local silent_s, keep_s, forgotten = tonumber(ARGV[1]), ARGV[2], {}
for _, host in ipairs(redis.call('SMEMBERS', KEYS[OWN + 1])) do
  local key = host_key(host)
  if redis.call('HEXISTS', key, 'host') == 0 then -- it wrote none, or that is gone
    if redis.call('EXISTS', host_sessions_key(host)) == 0 then
      redis.call('SREM', KEYS[OWN + 1], host)
      redis.call('DEL', key, commands_key(host))
      table.insert(forgotten, host)
    elseif redis.call('EXISTS', key) == 0 then
      redis.call('HSET', key, 'heartbeatAt', string.format('%.6f', NOW - silent_s), 'suspectAt', NOW_TEXT)
      redis.call('EXPIRE', key, keep_s)
    end
  end
end
return forgotten
