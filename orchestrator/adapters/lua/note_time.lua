-- Notes the time in a field of a session that exists: a record that expired meanwhile stays away.
-- KEYS[18] session:<id>
-- ARGV     id, field
-- Returns  1 or 0
if redis.call('EXISTS', KEYS[OWN + 1]) == 0 then return 0 end
redis.call('HSET', KEYS[OWN + 1], ARGV[2], NOW_TEXT)
-- Who looks at a waiting session notes it: that is no change to look at.
if ARGV[2] ~= 'lastSeenAt' then changed(ARGV[1]) end
return 1
