-- Counters and histograms of calls, in one hash: see contract.keys, ``stats:voice``.
local function count(stats, name, kind, provider, amount)
  redis.call('HINCRBYFLOAT', stats, table.concat({name, kind, provider}, '|'), amount)
end

-- ``bounds``: a histogram's upper bounds, comma separated.
local function observe(stats, name, kind, provider, value, bounds)
  count(stats, name, kind, provider .. '|sum', value)
  count(stats, name, kind, provider .. '|count', 1)
  for bound in string.gmatch(bounds, '[^,]+') do
    if tonumber(value) <= tonumber(bound) then count(stats, name, kind, provider .. '|' .. bound, 1) end
  end
end
