-- Counts one try of a spawn and gives it its deadline.
-- KEYS[18] session:<id>  KEYS[19] hosts  KEYS[20] breaker:<name>
-- ARGV     id, spawn deadline (s), host that is to start it, task or ''
-- also     host:<id> of each host, host:<id>:sessions of that one
-- Returns  which try this is, from 1; 0 when the session needs no agent any more, waits for capacity (and stays in its
--          place), or another task is at it: queued twice, it might be spawned on two hosts at once; -1 when that host
--          drains (but a call goes on there, where no other host could take it); -2 when it is full, -3 when the breaker does
--          not let it begin (a call's is begun in spite of both)
local key, id, deadline_s, host, task = KEYS[OWN + 1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if not lacks_agent(key) or redis.call('ZSCORE', POOL_WAITING, id) then return 0 end
local due = redis.call('ZSCORE', POOL_SPAWNING, id)
local holder = redis.call('HGET', key, 'spawnTask')
if holder and holder ~= task and due and tonumber(due) > NOW then return 0 end
if drains(host) and (redis.call('HGET', key, 'status') == 'starting' or not all_drain(KEYS[OWN + 2])) then return -1 end
if redis.call('HGET', key, 'status') == 'starting' then
  if is_full(host) then return -2 end
  if not take_try(KEYS[OWN + 3], id, deadline_s) then return -3 end
end
if task ~= '' then redis.call('HSET', key, 'spawnTask', task) end
redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
changed(id)
return redis.call('HINCRBY', key, 'attempts', 1)
