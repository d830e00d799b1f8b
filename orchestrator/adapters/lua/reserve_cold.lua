-- Makes a `starting` session for a caller: on its way at once, or waiting for capacity.
-- KEYS[18] session:<id>  KEYS[19] idem:<digest>  KEYS[20] user:<owner>:sessions  KEYS[21] hosts
--          KEYS[22] pool:arrivals
-- ARGV     id, body digest, keep (s), user id, user name, assignment (JSON), owner, most sessions of one user, kind, task id,
--          most agents, most waiting, spawn deadline (s), then each kind that has a most, and that
-- also     session:<id> of what this request was given before and of each spawn under way and session that waits, host:<id>
--          and host:<id>:sessions of each host, pool:arrivals and pool:agents of the kind, breaker:<kind> of all that wait
-- Returns  {'queued', id, dispatched, position, fresh} | {'answered', json} | {'conflict'} | {'full'} | {'crowded'}
--          | {'under way'} | {'unavailable', come again in (s)} while the breaker is open
local key, idem, owned = KEYS[OWN + 1], KEYS[OWN + 2], KEYS[OWN + 3]
local id, body, keep, user, name, assignment, owner = unpack(ARGV, 1, 7)
local most_sessions, kind, task = tonumber(ARGV[8]), ARGV[9], ARGV[10]
local most_agents, most_waiting, deadline_s = tonumber(ARGV[11]), tonumber(ARGV[12]), tonumber(ARGV[13])
local hosts, most_of = KEYS[OWN + 4], {}
for i = 14, #ARGV, 2 do most_of[ARGV[i]] = tonumber(ARGV[i + 1]) end

local function is_served(one)
  return may_begin(breaker_key(one)) == -1 and has_room(hosts, most_agents, one, most_of[one] or most_agents)
end

-- Whether somebody who came before waits for what this one would take. Who waits for an agent of another kind that cannot be
-- started is passed.
local function is_behind()
  local passed = {}
  for _, other in ipairs(redis.call('ZRANGE', POOL_WAITING, 0, -1)) do
    local theirs = kind_of(other)
    if theirs == kind then return true end
    if passed[theirs] == nil then passed[theirs] = not is_served(theirs) end
    if not passed[theirs] then return true end
  end
  return false
end

local function place(queued)
  local spawning = redis.call('ZRANK', POOL_SPAWNING, queued)
  if spawning then return tostring(spawning + 1) end
  local rank = redis.call('ZRANK', POOL_WAITING, queued)
  return tostring(rank and redis.call('ZCARD', POOL_SPAWNING) + rank + 1 or 1)
end

local before = earlier(idem, body)
if before and (before[1] == 'conflict' or before[1] == 'answered') then return before end
if before and before[1] == 'cold' then
  -- The same id: the driver sent this very call again, and nobody heard that the spawn is to be queued.
  local fresh = before[2] == id and '1' or '0'
  local dispatched = redis.call('ZSCORE', POOL_SPAWNING, before[2]) and '1' or '0'
  return {'queued', before[2], dispatched, place(before[2]), fresh}
end
if before and before[1] == 'warm' then
  -- The same request, sent twice at once, was given an agent meanwhile; whether that acknowledges, only the other one hears.
  local status = redis.call('HGET', session_key(before[2]), 'status')
  if status == 'active' then return {'queued', before[2], '1', '1', '0'} end
  if status == 'assigned' then return {'under way'} end
end

if is_crowded(owned, most_sessions) then return {'crowded'} end
local breaker = breaker_key(kind)
if may_begin(breaker) == 0 then return {'unavailable', come_again_s(breaker)} end
local waiting = redis.call('ZCARD', POOL_WAITING)
local dispatched = has_room(hosts, most_agents, kind, most_of[kind] or most_agents) and not is_behind()
if not dispatched and waiting >= most_waiting then return {'full'} end
if dispatched then take_try(breaker, id, deadline_s) end

redis.call('HSET', key, 'status', 'starting', 'userId', user, 'userName', name, 'assignment', assignment,
  'createdAt', NOW_TEXT, 'lastSeenAt', NOW_TEXT, 'taskId', task)
if kind ~= DEFAULT_KIND then redis.call('HSET', key, 'kind', kind) end
note_owner(owned, owner, most_sessions, id)
redis.call('ZADD', BY_STATE.starting, NOW_TEXT, id)
redis.call('HSET', idem, 'body', body, 'session', id, 'kind', 'cold')
redis.call('EXPIRE', idem, keep)
changed(id)
note_arrival(of_kind(KEYS[OWN + 5], kind))
if dispatched then
  redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
  redis.call('SADD', of_kind(POOL_AGENTS, kind), id)
  return {'queued', id, '1', tostring(redis.call('ZCARD', POOL_SPAWNING)), '1'}
end
redis.call('ZADD', POOL_WAITING, NOW_TEXT, id)
return {'queued', id, '0', tostring(redis.call('ZCARD', POOL_SPAWNING) + waiting + 1), '1'}
