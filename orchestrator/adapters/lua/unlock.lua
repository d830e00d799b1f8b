-- Gives a lock back, if it is still this holder's.
-- KEYS[18] lock:<name>
-- ARGV     token
if redis.call('GET', KEYS[OWN + 1]) == ARGV[1] then return redis.call('DEL', KEYS[OWN + 1]) end
return 0
