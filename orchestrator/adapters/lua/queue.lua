-- Users who wait for an agent, the first first: those whose agent is being started, then those who wait for capacity.
-- ARGV     how many at most
-- also     session:<id> of each
-- Returns  {id, user, place from 1, waits since, …}
local most, rows = tonumber(ARGV[1]), {}
local function add(id, place)
  local s = redis.call('HMGET', session_key(id), 'userId', 'createdAt', 'status')
  if s[3] ~= 'starting' then return end -- in a call, and about to go on with another agent
  for _, value in ipairs({id, s[1] or '', tostring(place), s[2] or NOW_TEXT}) do table.insert(rows, value) end
end
local spawning = redis.call('ZRANGE', POOL_SPAWNING, 0, -1)
for place, id in ipairs(spawning) do
  if #rows >= most * 4 then return rows end
  if not is_warming(id) then add(id, place) end
end
for place, id in ipairs(redis.call('ZRANGE', POOL_WAITING, 0, most - 1)) do
  if #rows >= most * 4 then return rows end
  add(id, #spawning + place)
end
return rows
