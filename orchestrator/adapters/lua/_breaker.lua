-- Put before the scripts that begin spawns (see redis_client). domain/breaker.py says what the states mean; here is what
-- of them decides about one spawn.

-- How many spawns may begin: -1 for any number, 0 or 1.
local function may_begin(breaker)
  local b = redis.call('HMGET', breaker, 'opened', 'openUntil', 'tryUntil')
  if tonumber(b[1] or '0') == 0 then return -1 end
  if tonumber(b[2]) > NOW or tonumber(b[3] or '0') > NOW then return 0 end
  return 1
end

-- Whether this session's spawn may begin. Half-open, it becomes the one try, until it is over or its deadline has passed.
local function take_try(breaker, id, deadline_s)
  local most = may_begin(breaker)
  if most == -1 then return true end
  local b = redis.call('HMGET', breaker, 'tryId', 'openUntil')
  if most == 0 and (b[1] ~= id or tonumber(b[2]) > NOW) then return false end
  redis.call('HSET', breaker, 'tryId', id, 'tryUntil', string.format('%.6f', NOW + deadline_s))
  return true
end

-- When one who is refused may come again (s).
local function come_again_s(breaker)
  return tostring(math.max(1, math.ceil(tonumber(redis.call('HGET', breaker, 'openUntil') or '0') - NOW)))
end

-- Since when spawns have kept failing; '' while it is closed, and while one is or may be tried.
local function failing_since(breaker)
  local b = redis.call('HMGET', breaker, 'opened', 'openUntil', 'since')
  return tonumber(b[1] or '0') > 0 and tonumber(b[2]) > NOW and b[3] or ''
end
