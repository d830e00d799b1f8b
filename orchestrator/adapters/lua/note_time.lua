-- Notes the time in a field of a session that exists: a record that expired meanwhile stays away.
-- KEYS[18] session:<id>
-- ARGV     field
-- Returns  1 or 0
if redis.call('EXISTS', KEYS[OWN + 1]) == 0 then return 0 end
redis.call('HSET', KEYS[OWN + 1], ARGV[1], NOW_TEXT)
return 1
