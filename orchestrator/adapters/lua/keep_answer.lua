-- Keeps an answer under its request's key, unless there is one.
-- KEYS[18] idem:<digest>
-- ARGV     answer (JSON), keep (s)
-- Returns  the answer that stands
redis.call('HSETNX', KEYS[OWN + 1], 'answer', ARGV[1])
if redis.call('TTL', KEYS[OWN + 1]) < 0 then redis.call('EXPIRE', KEYS[OWN + 1], ARGV[2]) end
return redis.call('HGET', KEYS[OWN + 1], 'answer')
