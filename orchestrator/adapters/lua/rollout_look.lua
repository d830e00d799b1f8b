-- How the rollout that is under way stands. What moved since the last look is noted with its time.
-- KEYS[18] rollout  KEYS[19] hosts  KEYS[20] pool:target
-- ARGV     the pool's size when nobody set one
-- also     host:<id> of each host, session:<id> of each agent in the pool
-- Returns  {} when none is under way, else {id, ready, target, older ones in the pool, quiet for (s),
--          host, '1' when it followed, error, … of each host that is alive and does not drain}
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

local ready, old = 0, 0
for _, id in ipairs(redis.call('SMEMBERS', POOL_READY)) do
  ready = ready + 1
  if is_old(id) then old = old + 1 end
end
table.sort(seen)
local now_seen = table.concat(seen, ' ') .. ' ' .. ready .. ' ' .. old
local moved = current[3]
if now_seen ~= current[4] then
  moved = NOW_TEXT
  redis.call('HSET', key, 'seen', now_seen, 'movedAt', NOW_TEXT)
end
local target = redis.call('GET', target_key) or ARGV[1]
return {current[1], tostring(ready), target, tostring(old), string.format('%.3f', NOW - tonumber(moved)),
  unpack(progress)}
