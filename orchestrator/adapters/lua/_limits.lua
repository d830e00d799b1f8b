-- Put before the scripts that begin a session (see redis_client): how often, and how many at once.
-- A rate is a sorted set of the requests that count, each at its moment: a window that slides exactly. A request is in
-- it once, however often it comes, so the driver may send it again.

-- Counts `request` against all rates, or against none when one of them is used up.
-- first  the place of the first rate's key in KEYS
-- rates  amount and window (s) of each
-- Returns  {remaining, reset (s), …} of each; the place of the first that is used up, or nil
local function count_start(request, first, rates)
  local windows, used_up = {}, nil
  for i = 1, #rates, 2 do
    local place = (i + 1) / 2
    local key, most, window_s = KEYS[first + place - 1], tonumber(rates[i]), tonumber(rates[i + 1])
    redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.6f', NOW - window_s))
    local used = redis.call('ZCARD', key)
    local is_new = not redis.call('ZSCORE', key, request)
    if is_new and used >= most then used_up = used_up or place end
    -- When there is more: as the oldest one leaves, or as many as are too many after the setting was lowered.
    local oldest = redis.call('ZRANGE', key, math.max(0, used - most), math.max(0, used - most), 'WITHSCORES')
    local reset_s = oldest[2] and math.ceil(tonumber(oldest[2]) + window_s - NOW) or window_s
    windows[place] = {key = key, window_s = window_s, is_new = is_new, left = most - used, reset_s = reset_s}
  end
  local quotas = {}
  for _, w in ipairs(windows) do
    if w.is_new and not used_up then
      redis.call('ZADD', w.key, NOW_TEXT, request)
      redis.call('EXPIRE', w.key, w.window_s)
      w.left = w.left - 1
    end
    table.insert(quotas, math.max(0, w.left))
    table.insert(quotas, math.max(1, w.reset_s))
  end
  return quotas, used_up
end

-- Whether this user has as many sessions as one may have; `most` 0 is no limit.
local function is_crowded(owned, most)
  return most > 0 and redis.call('SCARD', owned) >= most
end

-- Has a session count as this user's until it is over (`finish` takes it away).
local function note_owner(owned, owner, most, id)
  if most == 0 then return end
  redis.call('HSET', session_key(id), 'owner', owner)
  redis.call('SADD', owned, id)
  redis.call('EXPIRE', owned, OWNED_S)
end
