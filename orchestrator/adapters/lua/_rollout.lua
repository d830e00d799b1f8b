-- Put before the scripts of a rollout (see redis_client).

-- Whether the agent of a session that waits was forked from an older zygote of its kind than its host has now.
local function is_old(id)
  local s = redis.call('HMGET', session_key(id), 'host', 'generation', 'status')
  if not s[1] or s[3] ~= 'ready' then return false end
  local h, kind = redis.call('HMGET', host_key(s[1]), 'generation', 'generations'), kind_of(id)
  if kind == DEFAULT_KIND then return h[1] and h[1] ~= '' and s[2] ~= h[1] end
  local current = ',' .. (h[2] or '')
  return string.find(current, ',' .. kind .. ':', 1, true) ~= nil and not has(h[2], kind .. ':' .. (s[2] or ''))
end
