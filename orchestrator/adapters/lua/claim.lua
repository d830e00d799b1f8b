-- Takes a waiting agent of a kind for a caller, at most one for a request key, and tells its host.
-- The request counts against its rates here, where it is known that it did not come before.
-- KEYS[18] idem:<digest>  KEYS[19] user:<owner>:sessions  KEYS[20] stats:vacancies
-- KEYS[21] pool:arrivals  KEYS[22…] limit:<name>:<digest> of each rate
-- ARGV     body digest, keep (s), user id, user name, assignment (JSON), owner, most sessions of one user, kind, reply id,
--          most tries, request, then amount and window (s) of each rate
-- also     pool:ready, stats:vacancies and pool:arrivals of that kind, session:<id> and host:<id> of the agent taken,
--          host:<id>:commands
-- Returns  {'claimed', id, fence, host, assigned at, refill due, quotas} | {'queued', id} | {'answered', json}
--          | {'conflict'} | {'none', quotas} | {'crowded'} | {'limited', place of the rate, quotas}
--          quotas: {remaining, reset (s), …} of each rate; empty where the request came again
local body, keep, user, name, assignment, owner = unpack(ARGV, 1, 6)
local most_sessions, kind, reply, tries, request = tonumber(ARGV[7]), ARGV[8], ARGV[9], tonumber(ARGV[10]), ARGV[11]
local idem, owned = KEYS[OWN + 1], KEYS[OWN + 2]
local ready = of_kind(POOL_READY, kind)
local vacancies, arrivals = of_kind(KEYS[OWN + 3], kind), of_kind(KEYS[OWN + 4], kind)

local function assign(id, host, fence)
  redis.call('HSET', idem, 'reply', reply)
  tell(host, 'type', 'assign', 'session', id, 'fence', fence, 'assignment', assignment, 'reply', reply)
end

local before = earlier(idem, body)
if before and before[1] == 'warm' then
  -- The request came again before it was answered: the same agent is told again, which it takes as one. The answer
  -- that was lost may have been the one that said a refill was due, so this one says so too.
  local id = before[2]
  local s = redis.call('HMGET', session_key(id), 'fence', 'host', 'assignedAt', 'status')
  if s[4] == 'assigned' or s[4] == 'active' then
    -- Its agent died and is being replaced: the caller waits for that as for any other.
    if not s[2] then return {'queued', id} end
    assign(id, s[2], s[1])
    return {'claimed', id, s[1], s[2], s[3], '1', {}}
  end
elseif before and before[1] == 'cold' then
  return {'queued', before[2]}
elseif before and before[1] ~= 'none' then
  return before
end

if is_crowded(owned, most_sessions) then return {'crowded'} end
local quotas, used_up = count_start(request, OWN + 5, {unpack(ARGV, 12)})
if used_up then return {'limited', used_up, quotas} end

for _ = 1, tries do
  local id = redis.call('SPOP', ready)
  if not id then return {'none', quotas} end
  local s = redis.call('HMGET', session_key(id), 'status', 'host')
  -- An agent left out here is put back by its host's reconciliation, once its host is alive again.
  if s[1] == 'ready' and s[2] and lease_is_fresh(s[2]) then
    local fence = next_fence()
    move(id, 'ready', 'assigned')
    redis.call('HSET', session_key(id), 'userId', user, 'userName', name, 'assignment', assignment,
      'assignedAt', NOW_TEXT, 'fence', fence, 'prewarmed', '1')
    note_owner(owned, owner, most_sessions, id)
    redis.call('INCR', STATS_ASSIGNED)
    push(vacancies, NOW_TEXT, 500)
    note_arrival(arrivals)
    redis.call('HSET', idem, 'body', body, 'session', id, 'kind', 'warm')
    redis.call('EXPIRE', idem, keep)
    assign(id, s[2], fence)
    return {'claimed', id, fence, s[2], NOW_TEXT, refill_is_due(), quotas}
  end
end
return {'none', quotas}
