-- Takes a spawn back from a worker whose host drains, is full or has more agents than others: for another host, or to wait
-- where none takes spawns.
-- KEYS[18] session:<id>  KEYS[19] hosts
-- ARGV     id, spawn deadline (s), '1' when a try was counted for it, reason, record (s), the host that said it is full
--          or ''
-- also     host:<id> and host:<id>:sessions of each host, session:<id> of each spawn under way, breaker:<kind> of its kind
-- Returns  1 when it is to be queued again (a call's always: where no host takes it, it goes on at one of them), else 0
local key, hosts = KEYS[OWN + 1], KEYS[OWN + 2]
local id, deadline_s, counted, reason, record_s, full = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
-- What it said counts until its next heartbeat: else the same spawn would come back to it again and again.
if full ~= '' and redis.call('EXISTS', host_key(full)) == 1 then
  redis.call('HSET', host_key(full), 'capacity', redis.call('SCARD', host_sessions_key(full)))
end
if not lacks_agent(key) or not redis.call('ZSCORE', POOL_SPAWNING, id) then return 0 end
if counted == '1' then redis.call('HINCRBY', key, 'attempts', -1) end
redis.call('HDEL', key, 'spawnTask', 'spawnHost') -- whoever takes it now has another task
local kind = kind_of(id)
local room, beside = hosts_room(hosts, kind) -- this spawn is one of those under way
local is_taken = not none_takes(hosts, kind) and (not room or spawning_of(beside) <= room)
if redis.call('HGET', key, 'status') ~= 'starting' or is_taken then
  redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
  return 1
end
if is_warming(id) then
  finish(id, 'starting', 'ended', reason, '', record_s)
  return 0
end
hold_in_place(key, id)
return 0
