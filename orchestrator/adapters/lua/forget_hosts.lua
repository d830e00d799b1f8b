-- Forgets the hosts whose records are gone: every script that asks for room looks through all that are listed. One that the
-- store believes to have agents stays until these have ended.
-- KEYS[18] hosts
-- also     host:<id>, host:<id>:sessions and host:<id>:commands of each
-- Returns  their ids
local forgotten = {}
for _, host in ipairs(redis.call('SMEMBERS', KEYS[OWN + 1])) do
  if redis.call('EXISTS', host_key(host), host_sessions_key(host)) == 0 then
    redis.call('SREM', KEYS[OWN + 1], host)
    redis.call('DEL', commands_key(host))
    table.insert(forgotten, host)
  end
end
return forgotten
