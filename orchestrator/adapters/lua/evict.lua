-- Fails a claimed session whose agent did not acknowledge; the request may then claim another.
-- KEYS[18] session:<id>  KEYS[19] idem:<digest>
-- ARGV     id, fence, reason, record (s), reply id
-- Returns  1, or 0 when the session has moved on since that claim, or -1 when the request came again and waits there
local id, fence, reason, record_s, reply = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
-- The request came again and waits for the same agent's answer: it evicts, if none comes.
local asked = redis.call('HMGET', KEYS[OWN + 2], 'reply', 'session')
local is_claimed = asked[2] == id
if is_claimed and asked[1] and asked[1] ~= reply then return -1 end
local s = redis.call('HMGET', KEYS[OWN + 1], 'status', 'fence', 'replacements')
if is_claimed then redis.call('HDEL', KEYS[OWN + 2], 'session', 'kind', 'reply') end
-- Its agent may have died and be replaced since the claim, which raised the fence: nobody waits for that session.
local same = s[2] == fence or (s[3] and (tonumber(s[2]) or 0) > tonumber(fence))
if s[1] ~= 'assigned' or not same then return 0 end
redis.call('INCR', STATS_DEAD_CLAIMS)
finish(id, 'assigned', 'failed', reason, 'agent_unresponsive', record_s)
return 1
