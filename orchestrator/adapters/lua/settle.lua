-- Counts the length and the cost of a call that is over, once. A session that nobody had is no call.
-- KEYS[18] stats:voice, then session:<id> of each
-- ARGV     bounds of lengths (s), bounds of costs (US dollars); both comma separated
-- Returns  how many were counted
local stats, settled = KEYS[OWN + 1], 0
for i = OWN + 2, #KEYS do
  local s = redis.call('HMGET', KEYS[i], 'status', 'settled', 'assignedAt', 'activeAt', 'endedAt', 'costUsd', 'endReason', 'kind')
  local over = (s[1] == 'ended' or s[1] == 'failed') and tonumber(s[5] or '')
  if over and not s[2] and s[3] then
    local kind, active = s[8] or 'default', tonumber(s[4] or '')
    redis.call('HSET', KEYS[i], 'settled', '1')
    if active then observe(stats, 'session_seconds', kind, '', math.max(0, over - active), ARGV[1]) end
    observe(stats, 'call_usd', kind, '', tonumber(s[6] or '') or 0, ARGV[2])
    if s[7] == 'inactive' then count(stats, 'silence_timeouts', kind, '', 1) end
    settled = settled + 1
  end
end
return settled
