-- Put before the scripts that hand out an agent, or have one started, for a caller (see redis_client).

-- Counts one arrival in its slot of time. A new slot has those that are too old forgotten, so there are few of them.
local function note_arrival(arrivals)
  local slot = math.floor(NOW / DEMAND_SLOT_S)
  if redis.call('HINCRBY', arrivals, string.format('%.0f', slot), 1) > 1 then return end
  for _, other in ipairs(redis.call('HKEYS', arrivals)) do
    local age = slot - tonumber(other)
    if age < 0 or age >= ARRIVAL_SLOTS then redis.call('HDEL', arrivals, other) end
  end
end
