-- Takes agents out of the pool of a kind and ends them, but leaves some: two refills that saw the same pool retire once.
-- ARGV     how many, reason, record (s), how many to leave, kind
-- also     pool:ready of the kind, session:<id>, host:<id>:sessions and host:<id>:commands of each
-- Returns  their ids
local retired, ready = {}, of_kind(POOL_READY, ARGV[5])
for _ = 1, tonumber(ARGV[1]) do
  if redis.call('SCARD', ready) <= tonumber(ARGV[4]) then break end
  local id = redis.call('SPOP', ready)
  if not id then break end
  local status = redis.call('HGET', session_key(id), 'status')
  if status == 'ready' and finish(id, 'ready', 'ended', ARGV[2], '', ARGV[3]) then table.insert(retired, id) end
end
return retired
