-- Ends or fails a session, whatever live state it is in, or only from some.
-- KEYS[18] session:<id>
-- ARGV     id, 'ended' | 'failed', reason, code, record (s), allowed states (comma separated, '' for any)
-- Returns  {'1', previous state, host or ''} | {'0', state or '', ''}
local key = KEYS[OWN + 1]
local id, to, reason, code, record_s, only = unpack(ARGV, 1, 6)
local status = redis.call('HGET', key, 'status')
if not status then return {'0', '', ''} end
local permitted = only == '' or string.find(',' .. only .. ',', ',' .. status .. ',', 1, true)
if not permitted then return {'0', status, ''} end
local done, host = finish(id, status, to, reason, code, record_s)
if not done then return {'0', status, ''} end
return {'1', status, host or ''}
