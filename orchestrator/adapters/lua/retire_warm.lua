-- Ends the agents that wait on a draining host.
-- KEYS[18] host:<id>:sessions
-- ARGV     host, reason, record (s)
-- also     host:<id>, session:<id> and host:<id>:commands of each
-- Returns  their ids
local retired = {}
if not drains(ARGV[1]) then return retired end
for _, id in ipairs(redis.call('SMEMBERS', KEYS[OWN + 1])) do
  local status = redis.call('HGET', session_key(id), 'status')
  if status == 'ready' and finish(id, 'ready', 'ended', ARGV[2], '', ARGV[3]) then table.insert(retired, id) end
end
return retired
