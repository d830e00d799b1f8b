-- Notes starts that an API process answered, all at once: how many, and how long each took.
-- KEYS[18] stats:starts  KEYS[19] stats:startRecent
-- ARGV     warm ones, cold ones, then the milliseconds of each
redis.call('HINCRBY', KEYS[OWN + 1], 'warm', ARGV[1])
redis.call('HINCRBY', KEYS[OWN + 1], 'cold', ARGV[2])
for i = 3, #ARGV do push(KEYS[OWN + 2], NOW_TEXT .. ' ' .. ARGV[i], 500) end
return 1
