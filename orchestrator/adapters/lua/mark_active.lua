-- The user is in the room.
-- KEYS[18] session:<id>
-- ARGV     id
-- Returns  1 when the session is active now, else 0
local key, id = KEYS[OWN + 1], ARGV[1]
local status = redis.call('HGET', key, 'status')
if status == 'assigned' then
  move(id, 'assigned', 'active')
  redis.call('HSET', key, 'activeAt', NOW_TEXT)
  status = 'active'
end
return status == 'active' and 1 or 0
