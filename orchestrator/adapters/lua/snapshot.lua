-- What the plan needs, at one moment.
-- KEYS[18] hosts  KEYS[19] stats:vacancies
-- ARGV     within how long (s) a user who was handed an agent may be about to join, then kinds
-- also     session:<id> of each spawn under way and of each waiting session, host:<id> and host:<id>:sessions of each host,
--          pool:ready, pool:agents, stats:vacancies and breaker:<kind> of each kind
-- Returns  {owned, {id, deadline, warm, attempts, replaces, kind, …}, {id, since, last seen, kind, …}, {kind, ready, agents,
--          1 when a host takes spawns, agents that its hosts can still take or '', the kinds that these serve, how many the
--          breaker lets begin (-1 for any number), since when spawns have kept failing or '', …}, {users about to join,
--          processors that all living hosts may use, since when the pool lacks what it lacks longest or ''}}; a session whose
--          agent is being replaced is under way and not owned
local owned = redis.call('ZCARD', BY_STATE.ready) + redis.call('ZCARD', BY_STATE.assigned)
  + redis.call('ZCARD', BY_STATE.active)
local spawning, waiting, kinds = {}, {}, {}
local function add(rows, ...)
  for _, value in ipairs({...}) do table.insert(rows, value) end
end

local joining = redis.call('ZCOUNT', BY_STATE.assigned, string.format('%.6f', NOW - tonumber(ARGV[1])), '+inf')
local cores, lacking_since = 0, nil
for _, host in ipairs(redis.call('SMEMBERS', KEYS[OWN + 1])) do
  local usable = tonumber(redis.call('HGET', host_key(host), 'processors') or '')
  if usable and usable > 0 and usable < 100000 and lease_is_fresh(host) then cores = cores + usable end
end

for _, kind in ipairs({unpack(ARGV, 2)}) do
  local since = tonumber(redis.call('LINDEX', of_kind(KEYS[OWN + 2], kind), -1) or '')
  if since and since < (lacking_since or NOW) then lacking_since = since end
  local ready = redis.call('SCARD', of_kind(POOL_READY, kind))
  owned = owned - ready
  local room, beside = hosts_room(KEYS[OWN + 1], kind)
  local names = {}
  for each in pairs(beside) do table.insert(names, each) end
  add(kinds, kind, ready, redis.call('SCARD', of_kind(POOL_AGENTS, kind)), none_takes(KEYS[OWN + 1], kind) and 0 or 1,
    room or '', table.concat(names, ','), may_begin(breaker_key(kind)), failing_since(breaker_key(kind)))
end
local due = redis.call('ZRANGE', POOL_SPAWNING, 0, -1, 'WITHSCORES')
for i = 1, #due, 2 do
  local id = due[i]
  local s = redis.call('HMGET', session_key(id), 'attempts', 'status')
  local replaces = s[2] ~= 'starting'
  add(spawning, id, due[i + 1], is_warming(id) and '1' or '0', s[1] or '0', replaces and '1' or '0', kind_of(id))
  if replaces then owned = owned - 1 end
end
local queue = redis.call('ZRANGE', POOL_WAITING, 0, -1, 'WITHSCORES')
for i = 1, #queue, 2 do
  local id = queue[i]
  add(waiting, id, queue[i + 1], redis.call('HGET', session_key(id), 'lastSeenAt') or queue[i + 1], kind_of(id))
end
return {math.max(0, owned), spawning, waiting, kinds, {joining, tostring(cores), lacking_since and tostring(lacking_since) or ''}}
