-- Before each of the other scripts.

-- changed counts a change of a room's members and returns its number, by which
-- a server knows whether it has missed one. The numbers (v) begin with the time
-- in microseconds (b), so those of a room that is made anew are higher than its
-- old ones. As text: Lua would print a number of this size with an exponent.
local function changed(members)
  if redis.call('EXISTS', members) == 0 then
    local now = redis.call('TIME')
    local began = now[1] .. string.format('%06d', now[2])
    redis.call('HSET', members, 'b', began, 'v', began)
  end
  redis.call('HINCRBY', members, 'v', 1)
  return redis.call('HGET', members, 'v')
end

local function enter(members, channel, entry, member)
  if redis.call('HEXISTS', members, entry) == 1 then return end
  local version = changed(members)
  redis.call('HSET', members, entry, member)
  redis.call('PUBLISH', channel, '+ ' .. version .. ' ' .. entry .. ' ' .. member)
end

local function newest(stream)
  local last = redis.call('XREVRANGE', stream, '+', '-', 'COUNT', 1)
  return last[1] and last[1][1] or '0-0'
end
