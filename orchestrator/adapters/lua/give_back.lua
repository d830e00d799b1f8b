-- Takes a spawn back from a worker whose host drains, or has more agents than others: for another host, or to wait
-- where none takes spawns.
-- KEYS[18] session:<id>  KEYS[19] hosts
-- ARGV     id, spawn deadline (s), '1' when a try was counted for it, reason, record (s)
-- also     host:<id> of each host
-- Returns  1 when it is to be queued again (a call's always: where all hosts drain, it goes on at one of them), else 0
local key, hosts = KEYS[OWN + 1], KEYS[OWN + 2]
local id, deadline_s, counted, reason, record_s = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
if not lacks_agent(key) or not redis.call('ZSCORE', POOL_SPAWNING, id) then return 0 end
if counted == '1' then redis.call('HINCRBY', key, 'attempts', -1) end
redis.call('HDEL', key, 'spawnTask', 'spawnHost') -- whoever takes it now has another task
if redis.call('HGET', key, 'status') ~= 'starting' or not all_drain(hosts) then
  redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
  return 1
end
if redis.call('SISMEMBER', POOL_WARMING, id) == 1 then
  finish(id, 'starting', 'ended', reason, '', record_s)
  return 0
end
-- In the place that it would have had from the beginning.
redis.call('ZREM', POOL_SPAWNING, id)
redis.call('ZADD', POOL_WAITING, redis.call('HGET', key, 'createdAt') or NOW_TEXT, id)
changed(id)
return 0
