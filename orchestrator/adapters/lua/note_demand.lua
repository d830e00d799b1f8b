-- Notes the demand and the target that a refill goes by. A slot only grows: refills at once may note in any order.
-- KEYS[18] pool:demand  KEYS[19] pool:aim
-- ARGV     agents on their way at this demand, how long that counts (s), target
local demand, expected = KEYS[OWN + 1], tonumber(ARGV[1])
local slot, kept = math.floor(NOW / DEMAND_SLOT_S), math.ceil(tonumber(ARGV[2]) / DEMAND_SLOT_S)
for _, other in ipairs(redis.call('HKEYS', demand)) do
  local age = slot - tonumber(other)
  if age < 0 or age > kept then redis.call('HDEL', demand, other) end
end
redis.call('SET', KEYS[OWN + 2], ARGV[3])
local field = string.format('%.0f', slot)
local before = tonumber(redis.call('HGET', demand, field) or '0')
if expected > before then redis.call('HSET', demand, field, string.format('%.6f', expected)) end
return 1
