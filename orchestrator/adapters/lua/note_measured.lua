-- Counts what an agent measured, once however often its report comes: it sends again what may have been lost.
-- KEYS[18] session:<id>  KEYS[19] measured:<id>  KEYS[20] stats:voice
-- ARGV     the agent ("host boot pid ticks"), the report's number, US dollars, how long the numbers are kept (s), and for
--          each: name, provider, amount or value, a histogram's bounds ('' for a counter)
-- Returns  1 when it was counted, 0 when it had been before
local key, seen, stats = KEYS[OWN + 1], KEYS[OWN + 2], KEYS[OWN + 3]
local who, seq, usd = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
if seq <= (tonumber(redis.call('HGET', seen, who) or '') or 0) then return 0 end
redis.call('HSET', seen, who, ARGV[2])
redis.call('EXPIRE', seen, ARGV[4])
local s = redis.call('HMGET', key, 'status', 'kind')
local kind = s[2] or 'default'
for i = 5, #ARGV, 4 do
  if ARGV[i + 3] == '' then
    count(stats, ARGV[i], kind, ARGV[i + 1], ARGV[i + 2])
  else
    observe(stats, ARGV[i], kind, ARGV[i + 1], ARGV[i + 2], ARGV[i + 3])
  end
end
if usd > 0 and BY_STATE[s[1]] then redis.call('HINCRBYFLOAT', key, 'costUsd', ARGV[3]) end
return 1
