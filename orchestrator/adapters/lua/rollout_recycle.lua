-- Ends agents of a kind that wait and are older than what their host has loaded now, but leaves some in its pool.
-- KEYS[18] rollout
-- ARGV     the rollout's id, how many, how many to leave, reason, record (s), kind
-- also     pool:ready of the kind, session:<id> of each agent in it; host:<id>, host:<id>:sessions and host:<id>:commands of its host
-- Returns  their ids
local recycled = {}
local current = redis.call('HMGET', KEYS[OWN + 1], 'id', 'state')
if current[1] ~= ARGV[1] or current[2] ~= 'running' then return recycled end
local count, leaving, ready = tonumber(ARGV[2]), tonumber(ARGV[3]), of_kind(POOL_READY, ARGV[6])
for _, id in ipairs(redis.call('SMEMBERS', ready)) do
  if #recycled >= count or redis.call('SCARD', ready) <= leaving then break end
  if is_old(id) and finish(id, 'ready', 'ended', ARGV[4], '', ARGV[5]) then table.insert(recycled, id) end
end
if #recycled > 0 then redis.call('HINCRBY', KEYS[OWN + 1], 'recycled', #recycled) end
return recycled
