-- An agent died, or does not answer: another one takes its session over, in the same room. Who is in no call fails.
-- KEYS[18] session:<id>  KEYS[19] stats:replacements
-- ARGV     id, the agent ("host boot pid ticks"), reason, code, most replacements, its spawn is begun within (s), record (s)
-- also     host:<id>:sessions of its host
-- Returns  'replaced' (its spawn is to be queued; again, as long as that was not begun) | 'under way' | 'failed'
--          | 'over' (it was before) | 'starting' (its spawn has tries left) | 'foreign' (not this session's agent)
local key, counters = KEYS[OWN + 1], KEYS[OWN + 2]
local id, agent, reason, code = unpack(ARGV, 1, 4)
local most, begin_s, record_s = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local status = redis.call('HGET', key, 'status')
if not status or status == 'ended' or status == 'failed' then return 'over' end
if status == 'starting' then return 'starting' end
local own = agent_of(key)
if own == '' and was_replaced(key, agent) then
  return redis.call('HGET', key, 'attempts') == '0' and 'replaced' or 'under way'
end
if own ~= agent then return 'foreign' end
if status == 'ready' then
  finish(id, status, 'failed', reason, code, record_s)
  return 'failed'
end
return replace(id, status, reason, code, most, begin_s, record_s, counters) and 'replaced' or 'failed'
