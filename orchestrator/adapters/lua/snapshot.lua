-- What the plan needs, at one moment.
-- KEYS[18] hosts  KEYS[19] breaker:<name>
-- also     session:<id> of each spawn under way and of each waiting session, host:<id> and
--          host:<id>:sessions of each host
-- Returns  {ready, owned, {id, deadline, warm, attempts, replaces, …}, {id, since, last seen, …}, 1 when a host takes spawns,
--          agents that the hosts can still take or '', how many the breaker lets begin (-1 for any number)};
--          a session whose agent is being replaced is under way and not owned
local ready = redis.call('SCARD', POOL_READY)
local owned = redis.call('ZCARD', BY_STATE.ready) + redis.call('ZCARD', BY_STATE.assigned)
  + redis.call('ZCARD', BY_STATE.active) - ready
local spawning, waiting = {}, {}
local due = redis.call('ZRANGE', POOL_SPAWNING, 0, -1, 'WITHSCORES')
for i = 1, #due, 2 do
  local id = due[i]
  table.insert(spawning, id)
  table.insert(spawning, due[i + 1])
  table.insert(spawning, tostring(redis.call('SISMEMBER', POOL_WARMING, id)))
  local s = redis.call('HMGET', session_key(id), 'attempts', 'status')
  table.insert(spawning, s[1] or '0')
  table.insert(spawning, s[2] == 'starting' and '0' or '1')
  if s[2] ~= 'starting' then owned = owned - 1 end
end
local queue = redis.call('ZRANGE', POOL_WAITING, 0, -1, 'WITHSCORES')
for i = 1, #queue, 2 do
  table.insert(waiting, queue[i])
  table.insert(waiting, queue[i + 1])
  table.insert(waiting, redis.call('HGET', session_key(queue[i]), 'lastSeenAt') or queue[i + 1])
end
return {ready, math.max(0, owned), spawning, waiting, all_drain(KEYS[OWN + 1]) and 0 or 1,
  hosts_room(KEYS[OWN + 1]) or '', may_begin(KEYS[OWN + 2])}
