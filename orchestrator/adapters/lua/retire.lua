-- Takes agents out of the pool and ends them, but leaves some: two refills that saw the same pool retire once.
-- ARGV     how many, reason, record (s), how many to leave
-- also     session:<id>, host:<id>:sessions and host:<id>:commands of each
-- Returns  their ids
local retired = {}
for _ = 1, tonumber(ARGV[1]) do
  if redis.call('SCARD', POOL_READY) <= tonumber(ARGV[4]) then break end
  local id = redis.call('SPOP', POOL_READY)
  if not id then break end
  local status = redis.call('HGET', session_key(id), 'status')
  if status == 'ready' and finish(id, 'ready', 'ended', ARGV[2], '', ARGV[3]) then table.insert(retired, id) end
end
return retired
