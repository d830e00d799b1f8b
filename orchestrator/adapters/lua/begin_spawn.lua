-- Counts one try of a spawn and gives it its deadline.
-- KEYS[18] session:<id>  KEYS[19] hosts
-- ARGV     id, spawn deadline (s), host that is to start it, task or ''
-- also     host:<id> and host:<id>:sessions of each host, session:<id> of each spawn under way, breaker:<kind>
-- Returns  which try this is, from 1; 0 when the session needs no agent any more, waits for capacity (and stays in its
--          place), or another task is at it: queued twice, it might be spawned on two hosts at once; -1 when that host
--          drains (but a call goes on there, where no other host could take it) or serves no agents of this kind; -2 when it
--          is full, -3 when the breaker does not let it begin (a call's is begun in spite of both); -4 when another host is to
--          start it: this one is silent, or it is for the pool, and another has fewer agents (-5 when it was passed on before,
--          -6 when twice …)
local key, id, deadline_s, host, task = KEYS[OWN + 1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local FAILED_S = 30
-- So often a silent host leaves a spawn to the others: some 10 s, with the pauses that its worker makes.
local SILENT_PASSES = 20
local kind = kind_of(id)
local is_starting = redis.call('HGET', key, 'status') == 'starting'

-- By host: how many other agents it is starting, and whether one of these is not overdue, so that its worker is at work.
local function under_way()
  local starting, at_work = {}, {}
  local others = redis.call('ZRANGE', POOL_SPAWNING, 0, -1, 'WITHSCORES')
  for place = 1, #others, 2 do
    local name = others[place] ~= id and redis.call('HGET', session_key(others[place]), 'spawnHost')
    if name then
      starting[name] = (starting[name] or 0) + 1
      at_work[name] = at_work[name] or tonumber(others[place + 1]) > NOW
    end
  end
  return starting, at_work
end

local function can_fork(name)
  local h = redis.call('HMGET', host_key(name), 'zygote', 'ready_kinds')
  return lease_is_fresh(name) and (h[1] == 'ready' and has(kinds_of(name), kind) or has(h[2] or '', kind))
end

-- Whether a spawn would go well there: else the host that has none because none starts there would be given all of them.
local function is_fit(name)
  local failed_at = redis.call('HGET', host_key(name), 'spawnFailedAt')
  return can_fork(name) and not is_full(name) and not (failed_at and NOW - tonumber(failed_at) < FAILED_S)
end

-- Leaves it to another host. Returns how often that was done by now; 0 past the most, for it ends some time: that host's
-- worker may be away.
local function pass_on(most)
  local passed = redis.call('HINCRBY', key, 'passed', 1)
  return passed <= most and passed or 0
end

-- How often a spawn was passed on by now because this host, which may be frozen or gone, was not heard of late, and another
-- one can start it; 0 when it is not. Where there is no other, it waits here for its host to come back.
local function passed_by_the_silent()
  if lease_is_fresh(host) then return 0 end
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[OWN + 2])) do
    if can_fork(name) and not (is_starting and is_full(name)) then return pass_on(SILENT_PASSES) end
  end
  return 0
end

-- The same, because another host has fewer agents, and nobody waits for this one. Twice as often while that one starts
-- others: its worker is not away, but busy.
local function passed_to_the_emptier()
  if not is_warming(id) then return 0 end
  local starting, at_work = under_way()
  local function load_of(name) return redis.call('SCARD', host_sessions_key(name)) + (starting[name] or 0) end
  local own, fit, fewer, is_busy = load_of(host), 0, false, false
  for _, name in ipairs(redis.call('SMEMBERS', KEYS[OWN + 2])) do
    if is_fit(name) then
      fit = fit + 1
      if name ~= host and load_of(name) < own then
        fewer, is_busy = true, is_busy or at_work[name]
      end
    end
  end
  return fewer and pass_on((is_busy and 2 or 1) * (2 * fit + 3)) or 0
end

if not lacks_agent(key) or redis.call('ZSCORE', POOL_WAITING, id) then return 0 end
local due = redis.call('ZSCORE', POOL_SPAWNING, id)
local holder = redis.call('HGET', key, 'spawnTask')
if holder and holder ~= task and due and tonumber(due) > NOW then return 0 end
if host ~= '' and not has(kinds_of(host), kind) then return -1 end
if drains(host) and (is_starting or not none_takes(KEYS[OWN + 2], kind)) then return -1 end
if is_starting and is_full(host) then return -2 end
if host ~= '' then
  local passed = passed_by_the_silent()
  if passed > 0 then return -3 - passed end
  local before = redis.call('HMGET', key, 'attempts', 'spawnHost')
  if (before[1] or '0') == '0' then
    passed = passed_to_the_emptier()
    if passed > 0 then return -3 - passed end
  else
    note_failure(before[2])
  end
end
if is_starting and not take_try(breaker_key(kind), id, deadline_s) then return -3 end
if host ~= '' then redis.call('HSET', key, 'spawnHost', host) end
if task ~= '' then redis.call('HSET', key, 'spawnTask', task) end
redis.call('ZADD', POOL_SPAWNING, NOW + deadline_s, id)
changed(id)
return redis.call('HINCRBY', key, 'attempts', 1)
