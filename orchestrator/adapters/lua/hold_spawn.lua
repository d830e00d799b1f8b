-- Takes back a spawn that is not to be tried while the breaker is open: a user's session waits in its place, one for the
-- pool is over. A call whose agent died goes on trying.
-- KEYS[18] session:<id>
-- ARGV     id, 'ended' | 'failed' (for the pool's), reason, record (s)
-- also     breaker:<kind> of its kind
-- Returns  1 when it is held back, 0 when it goes on, or nobody needs it any more
local key = KEYS[OWN + 1]
local id, to, reason, record_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
if redis.call('HGET', key, 'status') ~= 'starting' or not redis.call('ZSCORE', POOL_SPAWNING, id) then return 0 end
if is_warming(id) then
  finish(id, 'starting', to, reason, 'spawn_failed', record_s)
  return 1
end
hold_in_place(key, id)
return 1
