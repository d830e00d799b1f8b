-- Looks through part of the sessions in one state, the newest first, for an id's beginning or a user, or for a kind of agent.
-- KEYS[18] sessions:<state>
-- ARGV     beginning of the id or '', user or '', score to begin at, id to begin after at that score or '', how many to
--          look at, kind or ''; those of both where a kind and one of the first two is given
-- also     session:<id> of each
-- Returns  {{id, score, …} found, last id looked at or '', its score}; '' when there are no more
local list, start, user, score, after = KEYS[OWN + 1], ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local most, kind = tonumber(ARGV[5]), ARGV[6]
local rows = {}
if after ~= '' then
  -- Many can share a score, all that one retirement ended: Redis has them by id, from the end.
  for _, id in ipairs(redis.call('ZREVRANGEBYSCORE', list, score, score)) do
    if id < after and #rows < most then table.insert(rows, {id, score}) end
  end
  score = '(' .. score
end
local rest = redis.call('ZREVRANGEBYSCORE', list, score, '-inf', 'WITHSCORES', 'LIMIT', 0, most - #rows)
for i = 1, #rest, 2 do table.insert(rows, {rest[i], rest[i + 1]}) end

local found = {}
for _, row in ipairs(rows) do
  local id = row[1]
  local hit = start ~= '' and string.sub(id, 1, #start) == start
  hit = hit or (user ~= '' and redis.call('HGET', session_key(id), 'userId') == user) or (start == '' and user == '')
  if hit and (kind == '' or kind_of(id) == kind) then
    table.insert(found, id)
    table.insert(found, row[2])
  end
end
local last = #rows == most and rows[#rows] or {'', ''}
return {found, last[1], last[2]}
