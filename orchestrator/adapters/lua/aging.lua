-- Sessions that have been in a state for longer than it may last, oldest first.
-- ARGV     unclaimed after (s), inactive after (s), warm for at most (s), how many of each at most
-- also     session:<id> of assigned sessions (a token taken later starts the lease anew) and of old warm ones,
--          pool:ready of the kinds of these
-- Returns  {unclaimed ids, inactive ids, {pool size, old warm ids} of each kind that has any}
local most = tonumber(ARGV[4])
local function older(key, age)
  return redis.call('ZRANGEBYSCORE', key, '-inf', string.format('%.6f', NOW - tonumber(age)), 'LIMIT', 0, most)
end
local unclaimed = {}
for _, id in ipairs(older(BY_STATE.assigned, ARGV[1])) do
  local token = redis.call('HGET', session_key(id), 'tokenAt')
  if (tonumber(token) or 0) < NOW - tonumber(ARGV[1]) then table.insert(unclaimed, id) end
end
local pools, of = {}, {}
for _, id in ipairs(older(BY_STATE.ready, ARGV[3])) do
  local kind = kind_of(id)
  if not of[kind] then
    of[kind] = {}
    table.insert(pools, {redis.call('SCARD', of_kind(POOL_READY, kind)), of[kind]})
  end
  table.insert(of[kind], id)
end
return {unclaimed, older(BY_STATE.active, ARGV[2]), pools}
