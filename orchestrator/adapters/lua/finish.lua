-- Ends or fails a session, whatever live state it is in, or only from some, or only while it has this agent or none, or waits
-- for capacity.
-- KEYS[18] session:<id>
-- ARGV     id, 'ended' | 'failed', reason, code, record (s), allowed states (comma separated, '' for any),
--          'any' | 'none' (only while it has no agent) | 'waiting' (only while no spawn of it is begun)
--          | "host boot pid ticks" (only while this is its agent)
-- Returns  {'1', previous state, host or ''} | {'0', state or '', ''}
local key = KEYS[OWN + 1]
local id, to, reason, code, record_s, only, agent = unpack(ARGV, 1, 7)
local status = redis.call('HGET', key, 'status')
if not status then return {'0', '', ''} end
local permitted = only == '' or string.find(',' .. only .. ',', ',' .. status .. ',', 1, true)
if not permitted then return {'0', status, ''} end
if agent == 'waiting' and not redis.call('ZSCORE', POOL_WAITING, id) then return {'0', status, ''} end
local wanted = agent == 'none' and '' or agent
if agent ~= 'any' and agent ~= 'waiting' and agent_of(key) ~= wanted then return {'0', status, ''} end
local done, host = finish(id, status, to, reason, code, record_s)
if not done then return {'0', status, ''} end
return {'1', status, host or ''}
