-- Sessions that have been in a state for longer than it may last, oldest first.
-- ARGV     unclaimed after (s), inactive after (s), warm for at most (s), how many of each at most
-- also     session:<id> of assigned sessions (a token taken later starts the lease anew)
-- Returns  {unclaimed ids, inactive ids, old warm ids, pool size}
local most = tonumber(ARGV[4])
local function older(key, age)
  return redis.call('ZRANGEBYSCORE', key, '-inf', string.format('%.6f', NOW - tonumber(age)), 'LIMIT', 0, most)
end
local unclaimed = {}
for _, id in ipairs(older(BY_STATE.assigned, ARGV[1])) do
  local token = redis.call('HGET', session_key(id), 'tokenAt')
  if (tonumber(token) or 0) < NOW - tonumber(ARGV[1]) then table.insert(unclaimed, id) end
end
return {unclaimed, older(BY_STATE.active, ARGV[2]), older(BY_STATE.ready, ARGV[3]), redis.call('SCARD', POOL_READY)}
