-- Declares a host lost, unless it was heard meanwhile: its warm agents leave the pool, its calls get other agents.
-- Said again it finds nothing left to do. Nothing is put on its stream: a successor may come to live on that very host.
-- KEYS[18] host:<id>  KEYS[19] host:<id>:sessions  KEYS[20] stats:replacements
-- ARGV     host, its heartbeat as it was seen, most replacements, a spawn is begun within (s), record (s)
-- also     session:<id> of each of its sessions
-- Returns  {ids whose spawn is to be queued, ids that failed, whether it is lost since now}
local key, mine, counters = KEYS[OWN + 1], KEYS[OWN + 2], KEYS[OWN + 3]
local host, heard, most, begin_s, record_s = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
if redis.call('HGET', key, 'heartbeatAt') ~= heard then return {{}, {}, 0} end
local lost_now = redis.call('HSETNX', key, 'lostAt', NOW_TEXT)
local reason = 'its host ' .. host .. ' is lost'
local replaced, failed = {}, {}
for _, id in ipairs(redis.call('SMEMBERS', mine)) do
  local status = redis.call('HGET', session_key(id), 'status')
  if status == 'ready' then
    finish(id, status, 'failed', reason, 'host_lost', record_s)
    table.insert(failed, id)
  elseif status == 'assigned' or status == 'active' then
    local done = replace(id, status, reason, 'host_lost', most, begin_s, record_s, counters)
    table.insert(done and replaced or failed, id)
  else
    redis.call('SREM', mine, id)
  end
end
return {replaced, failed, lost_now}
