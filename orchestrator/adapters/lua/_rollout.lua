-- Put before the scripts of a rollout (see redis_client).

-- Whether the agent of a session that waits was forked from an older zygote than its host has now.
local function is_old(id)
  local s = redis.call('HMGET', session_key(id), 'host', 'generation', 'status')
  if not s[1] or s[3] ~= 'ready' then return false end
  local current = redis.call('HGET', host_key(s[1]), 'generation')
  return current and current ~= '' and s[2] ~= current
end
