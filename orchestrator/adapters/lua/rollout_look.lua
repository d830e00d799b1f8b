-- How the rollout that is under way stands. What moved since the last look is noted with its time.
-- KEYS[18] rollout  KEYS[19] hosts  KEYS[20] pool:target
-- ARGV     each kind, and its pool's size when nobody set one
-- also     pool:target and pool:ready of each kind, host:<id> of each host, session:<id> of each agent in the pools
-- Returns  {} when none is under way, else {id, quiet for (s), {kind, ready, target, older ones in the pool, … of each kind},
--          {host, '1' when it followed, error, … of each host that is alive and does not drain}}
local key, hosts, target_key = KEYS[OWN + 1], KEYS[OWN + 2], KEYS[OWN + 3]
local current = redis.call('HMGET', key, 'id', 'state', 'movedAt', 'seen')
if current[2] ~= 'running' then return {} end

local progress, seen = {}, {}
for _, host in ipairs(redis.call('SMEMBERS', hosts)) do
  if lease_is_fresh(host) then
    local h = redis.call('HMGET', host_key(host), 'rollout', 'rollout_error')
    local followed = h[1] == current[1]
    table.insert(progress, host)
    table.insert(progress, followed and '1' or '0')
    table.insert(progress, followed and h[2] or '')
    if followed then table.insert(seen, host) end
  end
end

table.sort(seen)
local now_seen, pools = table.concat(seen, ' '), {}
for i = 1, #ARGV, 2 do
  local kind, old = ARGV[i], 0
  local ready = redis.call('SMEMBERS', of_kind(POOL_READY, kind))
  for _, id in ipairs(ready) do
    if is_old(id) then old = old + 1 end
  end
  now_seen = now_seen .. ' ' .. #ready .. ' ' .. old
  local target = redis.call('GET', of_kind(target_key, kind)) or ARGV[i + 1]
  for _, value in ipairs({kind, tostring(#ready), target, tostring(old)}) do table.insert(pools, value) end
end
local moved = current[3]
if now_seen ~= current[4] then
  moved = NOW_TEXT
  redis.call('HSET', key, 'seen', now_seen, 'movedAt', NOW_TEXT)
end
return {current[1], string.format('%.3f', NOW - tonumber(moved)), pools, progress}
